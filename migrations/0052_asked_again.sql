-- A check or a probe that is asked for while one is under way is made after it: the one that is under way may have asked
-- Nango and the provider already.
ALTER TABLE jobs ADD COLUMN asked_again_at timestamptz;
COMMENT ON COLUMN jobs.asked_again_at IS
    'When a check or a probe was last asked for while this one was unfinished. A claim clears it; if it is set when the work
ends, the job is due again instead of done';

-- A tenant's request for a check meets the check that is unfinished: it must find it, and may change when it was asked for.
CREATE POLICY tenant_finds ON jobs FOR SELECT TO connections_api
    USING (tenant_id = current_tenant() AND kind = 'check');
CREATE POLICY tenant_asks_again ON jobs FOR UPDATE TO connections_api
    USING (tenant_id = current_tenant() AND kind = 'check')
    WITH CHECK (tenant_id = current_tenant() AND kind = 'check');
GRANT SELECT (tenant_id, connection_id, kind, done_at), UPDATE (asked_again_at) ON jobs TO connections_api;
