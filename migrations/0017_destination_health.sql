-- How a tenant's destination takes what it is sent. A tenant without a row is active.
CREATE TABLE destination_health (
    tenant_id       text        PRIMARY KEY CHECK (tenant_id <> ''),
    -- active: everything is sent. paused: one delivery now and then, as a probe. stopped: nothing, until
    -- the destination is put again.
    status          text        NOT NULL CHECK (status IN ('active', 'paused', 'stopped')),
    -- Why it is not active.
    reason          text,
    -- When `status` was entered.
    since           timestamptz NOT NULL,
    -- How many tries failed in a row, by no fault of ours, and since when.
    failures        integer     NOT NULL DEFAULT 0,
    failing_since   timestamptz,
    -- How many probes failed in this pause, and when the next one may go. A claim moves it behind its
    -- lease, as `due_at` in `receipts`.
    probes          integer     NOT NULL DEFAULT 0,
    probe_at        timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    CHECK ((status = 'active') = (reason IS NULL)),
    CHECK ((status = 'paused') = (probe_at IS NOT NULL)),
    CHECK ((failures = 0) = (failing_since IS NULL))
);

-- A tenant's request reads it, and lets a destination that it puts begin anew.
ALTER TABLE destination_health ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON destination_health TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON destination_health TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON destination_health TO connections_api;
GRANT SELECT, INSERT, UPDATE ON destination_health TO connections_worker;

-- Some lines of the trail are of a whole destination, and of no connection.
ALTER TABLE audit_events ALTER COLUMN connection_id DROP NOT NULL;
