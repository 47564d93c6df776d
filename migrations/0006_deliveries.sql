-- One notification on its way to its destination.
CREATE TABLE deliveries (
    tenant_id     text        NOT NULL,
    delivery_id   uuid        NOT NULL,
    event_id      uuid        NOT NULL,
    connection_id uuid        NOT NULL,
    -- The event's. Of one connection, only the delivery with the lowest is `ready`; its successors are
    -- `blocked` until it ends. Whoever inserts one and whoever ends one holds the connection's row lock.
    sequence      bigint      NOT NULL,
    status        text        NOT NULL CHECK (status IN ('blocked', 'ready', 'delivered', 'exhausted')),
    -- How many tries were recorded. One that a crash cut off is not among them.
    tries         integer     NOT NULL DEFAULT 0,
    -- As in `receipts`.
    due_at        timestamptz NOT NULL,
    lease         uuid,
    ended_at      timestamptz,
    PRIMARY KEY (tenant_id, delivery_id),
    FOREIGN KEY (tenant_id, event_id) REFERENCES events
);

-- Claims read the first of these.
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE status = 'ready';
-- Inserts ask whether a delivery of the connection is unfinished; endings look for the next one.
CREATE INDEX deliveries_unfinished ON deliveries (tenant_id, connection_id, sequence)
    WHERE status IN ('blocked', 'ready');

-- One HTTP try of a delivery. The answer's body is not kept.
CREATE TABLE delivery_attempts (
    tenant_id   text        NOT NULL,
    delivery_id uuid        NOT NULL,
    try         integer     NOT NULL,
    started_at  timestamptz NOT NULL,
    duration_ms bigint      NOT NULL,
    outcome     text        NOT NULL,
    http_status integer,
    -- Why no answer came, in words for people.
    detail      text,
    PRIMARY KEY (tenant_id, delivery_id, try),
    FOREIGN KEY (tenant_id, delivery_id) REFERENCES deliveries
);

ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deliveries TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON deliveries TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON deliveries TO connections_api;
GRANT SELECT, INSERT, UPDATE ON deliveries TO connections_worker;

ALTER TABLE delivery_attempts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON delivery_attempts FOR SELECT TO connections_api
    USING (tenant_id = current_tenant());
CREATE POLICY worker ON delivery_attempts TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT ON delivery_attempts TO connections_api;
GRANT SELECT, INSERT ON delivery_attempts TO connections_worker;
