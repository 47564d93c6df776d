-- Destinations' secrets are sealed anew by a worker when the key changes, so that the old key may go.
CREATE POLICY worker_seals ON destinations FOR UPDATE TO connections_worker USING (true) WITH CHECK (true);
GRANT UPDATE (secrets) ON destinations TO connections_worker;
