-- An id does not identify a key: another one may be set under it. Each key of DATA_ENCRYPTION_KEY leaves a check value at
-- its first use, and a process whose key has another one does not start.
CREATE TABLE key_checks (
    key_id        text        NOT NULL PRIMARY KEY,
    check_value   bytea       NOT NULL CHECK (octet_length(check_value) = 32),
    first_used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE key_checks IS 'Which key of DATA_ENCRYPTION_KEY each id stands for, for ever.';
COMMENT ON COLUMN key_checks.check_value IS 'HMAC-SHA256 of a fixed text under the key: it tells keys apart and reveals none.';
COMMENT ON COLUMN key_checks.first_used_at IS 'When a process first had the key.';

GRANT SELECT, INSERT ON key_checks TO connections_worker;
