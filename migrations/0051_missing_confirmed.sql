-- An operator confirms the connections that are missing at that moment. Until now he confirmed a number of them, which
-- let as many others pass for two days. No release has read that number.
ALTER TABLE connections ADD COLUMN missing_confirmed_at timestamptz;
COMMENT ON COLUMN connections.missing_confirmed_at IS
    'When an operator confirmed that Nango does not have it any more; it holds from missing_since on, and for what was deleted by it';

-- A walk that began to judge before a decision changes nothing after it.
ALTER TABLE deletions_held
    DROP COLUMN accepted,
    DROP COLUMN accepted_at,
    ADD COLUMN decisions bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN deletions_held.decisions IS 'How many decisions operators made, of either kind';
