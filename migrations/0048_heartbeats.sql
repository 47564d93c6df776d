-- What a readiness check writes: to read is not enough where every call writes. It goes through a tenant's role and
-- row-level security, as a call does, and commits.
CREATE TABLE heartbeats (
    -- No tenant's: no id of a tenant has this character.
    tenant_id text        NOT NULL DEFAULT '#' CHECK (tenant_id = '#'),
    -- Each process has one of these, so that one that hangs in a transaction holds up few others.
    slot      smallint    NOT NULL CHECK (slot BETWEEN 0 AND 255),
    beat_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, slot)
);
COMMENT ON TABLE heartbeats IS 'What readiness checks write. It holds no data.';
COMMENT ON COLUMN heartbeats.tenant_id IS 'Always #, which is no tenant: row-level security is exercised with it.';
COMMENT ON COLUMN heartbeats.slot IS 'A random number of the process.';
COMMENT ON COLUMN heartbeats.beat_at IS 'When a readiness check last wrote, by the clock of the database.';

ALTER TABLE heartbeats ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON heartbeats TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE ON heartbeats TO connections_api;
