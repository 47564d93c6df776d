-- One try to authorise a connection.
CREATE TABLE attempts (
    tenant_id           text        NOT NULL,
    attempt_id          uuid        NOT NULL,
    connection_id       uuid        NOT NULL,
    status              text        NOT NULL CHECK (status IN
                            ('open', 'done', 'failed', 'superseded', 'expired')),
    reason              text,
    created_at          timestamptz NOT NULL,
    -- The callback is accepted before this time.
    deadline_at         timestamptz NOT NULL,
    -- Set once, by the first callback with this attempt's state.
    callback_started_at timestamptz,
    PRIMARY KEY (tenant_id, attempt_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections
);

-- Whether a success is awaited at all: while none is, a name that nobody knows is worth no question.
CREATE INDEX attempts_awaited ON attempts (callback_started_at)
    WHERE status = 'open' AND callback_started_at IS NOT NULL;

ALTER TABLE attempts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON attempts TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON attempts TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON attempts TO connections_api, connections_worker;

-- Which attempt an OAuth state belongs to: a callback knows its state and not its tenant. The state is
-- kept as its SHA-256, so that whoever reads this table cannot call back.
CREATE TABLE callback_states (
    state_hash    bytea PRIMARY KEY,
    tenant_id     text  NOT NULL,
    attempt_id    uuid  NOT NULL,
    connection_id uuid  NOT NULL
);

-- A tenant's request writes its own states and reads none.
ALTER TABLE callback_states ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON callback_states FOR INSERT TO connections_api
    WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON callback_states TO connections_worker USING (true) WITH CHECK (true);
GRANT INSERT ON callback_states TO connections_api;
GRANT SELECT, INSERT ON callback_states TO connections_worker;
