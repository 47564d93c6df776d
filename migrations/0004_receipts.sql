-- The record that a webhook was taken: what it claims, never its body, for a body may hold anything.
CREATE TABLE receipts (
    receipt_id  uuid        PRIMARY KEY,
    received_at timestamptz NOT NULL,
    request_id  text,
    webhook_key text        NOT NULL,
    body_sha256 bytea       NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('auth', 'simplified', 'ignored', 'unknown')),
    -- What the webhook claims, for kinds that say where to look.
    hint        jsonb,
    -- How it ended: nothing while it is still to be confirmed.
    outcome     text,
    settled_at  timestamptz,
    -- How often the vault was asked and did not list what is claimed.
    looks       integer     NOT NULL DEFAULT 0,
    -- How often the vault could not be asked.
    failures    integer     NOT NULL DEFAULT 0,
    -- When it is looked at next. A claim moves it behind its lease, so that a crashed worker's claim
    -- comes due by itself; `lease` tells a late worker that it lost the claim.
    due_at      timestamptz NOT NULL,
    lease       uuid,
    CHECK ((outcome IS NULL) = (settled_at IS NULL))
);

CREATE INDEX receipts_due ON receipts (due_at) WHERE settled_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON receipts TO connections_worker;
