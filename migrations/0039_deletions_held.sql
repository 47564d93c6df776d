-- Nango lists so many of our connections no more that something else is wrong: a key of another environment, a
-- restored Nango. None of them is deleted here until an operator decides.
CREATE TABLE deletions_held (
    is_only     boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    held_since  timestamptz,
    missing     bigint      NOT NULL DEFAULT 0,
    live        bigint      NOT NULL DEFAULT 0,
    accepted    bigint      NOT NULL DEFAULT 0,
    accepted_at timestamptz
);
COMMENT ON TABLE deletions_held IS 'One row: whether deletions at Nango are believed';
COMMENT ON COLUMN deletions_held.held_since IS 'Since when no deletion at Nango is believed; NULL while they are';
COMMENT ON COLUMN deletions_held.missing IS 'How many connections were missing when that was last counted';
COMMENT ON COLUMN deletions_held.live IS 'Of how many';
COMMENT ON COLUMN deletions_held.accepted IS 'How many deletions an operator confirmed';
COMMENT ON COLUMN deletions_held.accepted_at IS 'When; a confirmation is forgotten after 48 hours';
INSERT INTO deletions_held DEFAULT VALUES;
GRANT SELECT, UPDATE ON deletions_held TO connections_worker;

-- Both are few, and are counted before any absence is believed.
CREATE INDEX connections_missing ON connections (missing_since) WHERE missing_since IS NOT NULL;
CREATE INDEX connections_gone ON connections (since) WHERE status = 'deleted' AND reason = 'gone_at_vault';

ALTER TABLE sweeps
    ADD COLUMN orphans       bigint NOT NULL DEFAULT 0,
    ADD COLUMN orphan_sample jsonb  NOT NULL DEFAULT '[]';
COMMENT ON COLUMN sweeps.orphans IS
    'How many credentials with our tags the last whole walk found at Nango that no connection here has';
COMMENT ON COLUMN sweeps.orphan_sample IS 'Some of them: tenant, connection and integration, by their tags';
