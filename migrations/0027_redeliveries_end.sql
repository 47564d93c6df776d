-- A request lets a destination that was never tried begin anew too, so that a try at the one before it, which is
-- being recorded at this moment, waits for that.
GRANT INSERT ON destination_health TO connections_api;

-- A redelivery that waits for a destination which takes nothing is replaced by the next that is asked for; those
-- that ended go with the other work that is kept for a time.
GRANT UPDATE (done_at) ON redeliveries TO connections_api;
GRANT DELETE ON redeliveries TO connections_worker;
CREATE INDEX redeliveries_done ON redeliveries (done_at) WHERE done_at IS NOT NULL;
