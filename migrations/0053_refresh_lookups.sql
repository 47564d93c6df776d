-- A webhook that says whether refreshing works is acted on at once, a few times in half a minute.
ALTER TABLE connections
    ADD COLUMN refresh_lookups_since timestamptz,
    ADD COLUMN refresh_lookups       smallint NOT NULL DEFAULT 0;
COMMENT ON COLUMN connections.refresh_lookups_since IS 'When the half minute began in which refresh_lookups are counted';
COMMENT ON COLUMN connections.refresh_lookups IS 'How many lookups for webhooks about refreshing did not wait in it';
