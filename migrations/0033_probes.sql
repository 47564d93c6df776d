-- Asking providers who the users of their tokens are, and whether they take the tokens still.
ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check
    CHECK (kind IN ('delete_connection', 'delete_extra', 'check', 'probe'));
COMMENT ON COLUMN jobs.kind IS
    'delete_connection: delete everything that Nango has for it; its end ends the connection. delete_extra: delete one more
success, named by nango_connection_id. check: look the connection up in Nango''s list, and probe it. probe: ask the provider
through Nango''s proxy who the user is, until that is known and the token was accepted';
-- One probe of a connection is enough, however many reasons there are.
CREATE UNIQUE INDEX jobs_probe ON jobs (tenant_id, connection_id) WHERE kind = 'probe' AND done_at IS NULL;

ALTER TABLE connections ADD COLUMN probed_at timestamptz;
COMMENT ON COLUMN connections.probed_at IS
    'When the last periodic probe was queued; NULL before the first, which is counted from since';
-- Serves the choice of those whose last probe is oldest.
CREATE INDEX connections_by_probe ON connections ((coalesce(probed_at, since)))
    WHERE status = 'active' OR reason = 'account_unverified';
