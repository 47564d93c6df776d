-- What a tenant asked to be sent again: all events of a time. Carried out in small batches; each moves the
-- position in the transaction of the deliveries that it makes, so that a crash neither loses nor doubles any.
CREATE TABLE redeliveries (
    tenant_id  text        NOT NULL,
    job_id     uuid        NOT NULL,
    -- Events that happened in this time, up to its end and without it.
    since      timestamptz NOT NULL,
    until      timestamptz NOT NULL,
    -- How their first delivery ended, and of which types they are; any, where nothing is said.
    status     text        CHECK (status IN ('delivered', 'exhausted')),
    types      text[],
    -- How many there were when it was asked, and how many deliveries were made so far.
    total      bigint      NOT NULL,
    made       bigint      NOT NULL DEFAULT 0,
    -- The last event that was looked at.
    after_at   timestamptz,
    after_id   uuid,
    created_at timestamptz NOT NULL,
    due_at     timestamptz NOT NULL,
    done_at    timestamptz,
    PRIMARY KEY (tenant_id, job_id),
    CHECK (since < until),
    CHECK ((after_at IS NULL) = (after_id IS NULL))
);

-- One at a time for each tenant.
CREATE UNIQUE INDEX redeliveries_under_way ON redeliveries (tenant_id) WHERE done_at IS NULL;
CREATE INDEX redeliveries_due ON redeliveries (due_at) WHERE done_at IS NULL;

-- A batch walks through a tenant's events, looks at each one's first delivery, and waits while many that
-- were made before are not sent.
CREATE INDEX events_by_time ON events (tenant_id, occurred_at, event_id);
CREATE INDEX deliveries_first ON deliveries (tenant_id, event_id) WHERE NOT is_redelivery;
CREATE INDEX deliveries_again ON deliveries (tenant_id) WHERE status = 'ready' AND is_redelivery;

ALTER TABLE redeliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON redeliveries TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON redeliveries TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON redeliveries TO connections_api;
GRANT SELECT, UPDATE ON redeliveries TO connections_worker;
