-- Deliveries are claimed tenant by tenant, know our own faults apart, and may be sent once more.
ALTER TABLE deliveries
    -- The release before this one does not say it.
    ADD COLUMN created_at      timestamptz NOT NULL DEFAULT now(),
    -- Sent again because somebody asked: it waits for no other delivery, and none waits for it.
    ADD COLUMN is_redelivery   boolean NOT NULL DEFAULT false,
    -- How many tries failed by a fault of ours; they are not among `tries`.
    ADD COLUMN our_faults      integer NOT NULL DEFAULT 0,
    -- Since when nothing but our own faults was seen.
    ADD COLUMN our_fault_since timestamptz;
UPDATE deliveries SET created_at = events.occurred_at FROM events
    WHERE events.tenant_id = deliveries.tenant_id AND events.event_id = deliveries.event_id;

-- A claim walks from tenant to tenant by the first of these, and reads no more of any than it takes.
CREATE INDEX deliveries_ready ON deliveries (tenant_id, due_at) WHERE status = 'ready';
DROP INDEX deliveries_due;
-- Inserts ask whether a delivery of the connection is unfinished.
DROP INDEX deliveries_unfinished;
CREATE INDEX deliveries_unfinished ON deliveries (tenant_id, connection_id)
    WHERE status IN ('blocked', 'ready') AND NOT is_redelivery;
-- Endings look for the next one, and a rescue for one that has nobody before it.
CREATE INDEX deliveries_blocked ON deliveries (tenant_id, connection_id, sequence) WHERE status = 'blocked';
-- A connection's deliveries, newest first.
CREATE INDEX deliveries_newest ON deliveries (tenant_id, connection_id, created_at DESC, delivery_id DESC);

ALTER TABLE delivery_attempts
    -- Whose fault it was that it failed: ours, network or theirs.
    ADD COLUMN fault  text,
    -- How the receiver's answer begins, made safe to show.
    ADD COLUMN answer text;
