-- The audit lines of one connection, or of one user's, are read in order without a walk through the tenant's.
CREATE INDEX audit_events_of_connection ON audit_events (tenant_id, connection_id, position)
    WHERE position IS NOT NULL;

-- A client has a delivery that waits for its next attempt sent now.
GRANT UPDATE (due_at, hastened_from) ON deliveries TO connections_api;
