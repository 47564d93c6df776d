-- What concerns a tenant and no connection of its own, such as its destination, is on the trail, too.
ALTER TABLE audit_events ALTER COLUMN connection_id DROP NOT NULL;
