-- The redelivery that took the place of this one, and so ended it. It is first, because those who work lock redeliveries
-- before destinations.
ALTER TABLE redeliveries ADD COLUMN replaced_by uuid;
GRANT UPDATE (replaced_by) ON redeliveries TO connections_api;

-- A destination that is put again, or takes something again, is sent at once what waited for its next try, and
-- not when that would have been: hours later, perhaps.
ALTER TABLE destination_health
    -- What waits until then or before becomes due; it comes down batch by batch. Nothing: all of it has.
    ADD COLUMN hastens_to timestamptz;
CREATE INDEX destination_health_hastened ON destination_health (hastens_to) WHERE hastens_to IS NOT NULL;

