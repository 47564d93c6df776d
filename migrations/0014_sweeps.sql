-- The one walk through the vault's list, page by page, that finds what no webhook told. All replicas share
-- it: whoever holds the lease walks.
CREATE TABLE sweeps (
    is_only    boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    -- The page that is next, and when the walk began; nothing between two walks.
    page       integer     NOT NULL DEFAULT 0,
    started_at timestamptz,
    -- By integration, how many were seen on this walk and how many of them fail to refresh.
    counts     jsonb       NOT NULL DEFAULT '{}',
    -- The same of the walk before, which was whole.
    before     jsonb       NOT NULL DEFAULT '{}',
    -- When the last whole walk began: everything that it did not doubt was so then.
    swept_at   timestamptz,
    -- As in `receipts`.
    failures   integer     NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL,
    lease      uuid
);
INSERT INTO sweeps (due_at) VALUES ('epoch');
GRANT SELECT, UPDATE ON sweeps TO connections_worker;

-- A job of a third kind: look now, and once more if something is in doubt.
ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check
    CHECK (kind IN ('delete_connection', 'delete_extra', 'check'));
CREATE UNIQUE INDEX jobs_check ON jobs (tenant_id, connection_id) WHERE kind = 'check' AND done_at IS NULL;
