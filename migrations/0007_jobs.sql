-- A call to the vault that must still happen.
CREATE TABLE jobs (
    job_id              uuid        PRIMARY KEY,
    tenant_id           text        NOT NULL,
    connection_id       uuid        NOT NULL,
    -- delete_connection: delete everything the vault has for it; its end ends the connection.
    -- delete_extra: delete one more success, named by `nango_connection_id`, and nothing else.
    kind                text        NOT NULL CHECK (kind IN ('delete_connection', 'delete_extra')),
    nango_connection_id text,
    created_at          timestamptz NOT NULL,
    done_at             timestamptz,
    -- How often the vault could not be asked.
    failures            integer     NOT NULL DEFAULT 0,
    -- As in `receipts`.
    due_at              timestamptz NOT NULL,
    lease               uuid,
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections
);

CREATE INDEX jobs_due ON jobs (due_at) WHERE done_at IS NULL;
-- One extra success is undone once, however often the vault tells of it.
CREATE UNIQUE INDEX jobs_extra ON jobs (tenant_id, connection_id, nango_connection_id)
    WHERE kind = 'delete_extra' AND done_at IS NULL;

-- A tenant's request leaves a job behind and reads none.
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON jobs FOR INSERT TO connections_api WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON jobs TO connections_worker USING (true) WITH CHECK (true);
GRANT INSERT ON jobs TO connections_api;
GRANT SELECT, INSERT, UPDATE ON jobs TO connections_worker;
