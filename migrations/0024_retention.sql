-- What was kept long enough is removed by its age, and the children of a row are found without a scan. The
-- trail is kept.
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX deliveries_of_event ON deliveries (tenant_id, event_id);
CREATE INDEX receipts_settled ON receipts (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX jobs_done ON jobs (done_at) WHERE done_at IS NOT NULL;
CREATE INDEX jobs_of_connection ON jobs (tenant_id, connection_id);
CREATE INDEX connections_deleted ON connections (since) WHERE status = 'deleted';
CREATE INDEX attempts_of_connection ON attempts (tenant_id, connection_id);
CREATE INDEX callback_states_of_connection ON callback_states (tenant_id, connection_id);

GRANT DELETE ON events, deliveries, delivery_attempts, receipts, jobs, connections, attempts, callback_states
    TO connections_worker;
