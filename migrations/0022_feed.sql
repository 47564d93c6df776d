-- The feed: a tenant's events, numbered without a gap after they were committed, so that whoever pulls them
-- by number misses none. A row that is committed late gets a late number.
ALTER TABLE events
    -- In the order of inserts, with gaps, and not that of commits. Of one connection both orders are the
    -- same, because it is locked.
    ADD COLUMN inserted bigint,
    -- Its place in the feed; nothing until the sealer gave it one. Never changed after that.
    ADD COLUMN position bigint CHECK (position > 0);

-- What was there before goes in by its time, and never before its predecessor of the same connection.
UPDATE events SET inserted = placed.nth
FROM (
    SELECT tenant_id, event_id, row_number() OVER (ORDER BY not_before, tenant_id, connection_id, sequence) AS nth
    FROM (
        SELECT *, max(occurred_at) OVER (PARTITION BY tenant_id, connection_id ORDER BY sequence) AS not_before
        FROM events
    ) AS timed
) AS placed
WHERE events.tenant_id = placed.tenant_id AND events.event_id = placed.event_id;
ALTER TABLE events ALTER COLUMN inserted SET NOT NULL;
ALTER TABLE events ALTER COLUMN inserted ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('events', 'inserted'), coalesce(max(inserted), 0) + 1, false) FROM events;

-- What is still to be sealed, tenant by tenant.
CREATE INDEX events_unsealed ON events (tenant_id, inserted) WHERE position IS NULL;
CREATE UNIQUE INDEX events_position ON events (tenant_id, position) WHERE position IS NOT NULL;

-- How far a tenant was sealed. A sealer locks the row and passes over a locked one; no writer ever does.
CREATE TABLE tenant_heads (
    tenant_id      text   PRIMARY KEY CHECK (tenant_id <> ''),
    -- The position of the newest event; 0 before the first.
    event_position bigint NOT NULL DEFAULT 0 CHECK (event_position >= 0),
    -- From here on the feed is whole. An event before it may still be there, because it is being
    -- delivered; the feed does not show it.
    oldest_event   bigint NOT NULL DEFAULT 1 CHECK (oldest_event > 0)
);

ALTER TABLE tenant_heads ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenant_heads FOR SELECT TO connections_api USING (tenant_id = current_tenant());
CREATE POLICY worker ON tenant_heads TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT ON tenant_heads TO connections_api;
GRANT SELECT, INSERT, UPDATE ON tenant_heads TO connections_worker;
GRANT UPDATE (position) ON events TO connections_worker;
