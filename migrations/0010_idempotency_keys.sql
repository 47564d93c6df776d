-- A call that its caller may repeat without doing it twice: first a claim, held by whoever works on it,
-- then its answer.
CREATE TABLE idempotency_keys (
    tenant_id   text        NOT NULL,
    principal   text        NOT NULL,
    key         text        NOT NULL,
    -- SHA-256 over method, path and body: the same key with another call is a mistake of the caller's.
    fingerprint bytea       NOT NULL,
    -- Tells a late worker that it lost the claim.
    lease       uuid        NOT NULL,
    -- How long the claim holds, or the answer is kept. A row after its time is as good as none.
    until       timestamptz NOT NULL,
    -- The answer, to be repeated byte for byte. That of a start holds the authorisation URL with the state
    -- in it, which is hashed elsewhere: it is kept as it is, because a repeat must say it again, it works
    -- once and for an hour, and the row is gone after a day. No answer holds a token.
    status      integer,
    headers     jsonb,
    body        bytea,
    PRIMARY KEY (tenant_id, principal, key),
    CHECK ((status IS NULL) = (headers IS NULL) AND (status IS NULL) = (body IS NULL))
);

-- What is over is removed by its age, whosever it was.
CREATE INDEX idempotency_keys_over ON idempotency_keys (until);

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency_keys TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON idempotency_keys TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON idempotency_keys TO connections_api;
GRANT SELECT, DELETE ON idempotency_keys TO connections_worker;
