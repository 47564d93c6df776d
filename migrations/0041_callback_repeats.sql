-- A callback that is loaded again leads to where the first led.
ALTER TABLE attempts
    ADD COLUMN query_hash     bytea,
    ADD COLUMN ticket_used_at timestamptz;
COMMENT ON COLUMN attempts.query_hash IS
    'SHA-256 of the raw query of the first callback, so that the same callback is told from another one with the same state. Null before the first callback.';
COMMENT ON COLUMN attempts.ticket_used_at IS
    'When the application used the ticket. A repeat of that call before ticket_expires_at is answered in the same way. Null before.';
COMMENT ON COLUMN attempts.ticket_hash IS
    'SHA-256 of the ticket. The ticket itself is derived from a cookie of the browser that came back, and is never stored.';
