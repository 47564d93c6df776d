-- The trail, in one order and chained: each link is a hash over the one before and its line, so that a
-- line that was changed, left out or put in shows.
ALTER TABLE audit_events
    -- Both as in `events`.
    ADD COLUMN inserted bigint,
    ADD COLUMN position bigint CHECK (position > 0);
UPDATE audit_events SET inserted = placed.nth
FROM (SELECT tenant_id, audit_id, row_number() OVER (ORDER BY at, audit_id) AS nth FROM audit_events) AS placed
WHERE audit_events.tenant_id = placed.tenant_id AND audit_events.audit_id = placed.audit_id;
ALTER TABLE audit_events ALTER COLUMN inserted SET NOT NULL;
ALTER TABLE audit_events ALTER COLUMN inserted ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('audit_events', 'inserted'), coalesce(max(inserted), 0) + 1, false)
FROM audit_events;

CREATE INDEX audit_events_unsealed ON audit_events (tenant_id, inserted) WHERE position IS NULL;
CREATE UNIQUE INDEX audit_events_position ON audit_events (tenant_id, position) WHERE position IS NOT NULL;

ALTER TABLE tenant_heads
    ADD COLUMN audit_position bigint NOT NULL DEFAULT 0 CHECK (audit_position >= 0),
    -- The last link; zeros before the first.
    ADD COLUMN audit_hash     bytea  NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
        CHECK (octet_length(audit_hash) = 32);

-- Links are added and read, never changed.
CREATE TABLE audit_chain (
    tenant_id text   NOT NULL,
    position  bigint NOT NULL CHECK (position > 0),
    audit_id  uuid   NOT NULL,
    hash      bytea  NOT NULL CHECK (octet_length(hash) = 32),
    -- Without a foreign key, which would lock each line once more: nobody may delete one.
    PRIMARY KEY (tenant_id, position)
);

ALTER TABLE audit_chain ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_chain FOR SELECT TO connections_api USING (tenant_id = current_tenant());
CREATE POLICY worker ON audit_chain TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT ON audit_chain TO connections_api;
GRANT SELECT, INSERT ON audit_chain TO connections_worker;
GRANT UPDATE (position) ON audit_events TO connections_worker;
