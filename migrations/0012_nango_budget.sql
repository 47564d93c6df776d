-- What is left of the calls that Nango takes a minute, one row for each class of calls, shared by all
-- replicas. A replica leases a few at a time, so that not every call costs a transaction.
CREATE TABLE nango_budget (
    class       text        PRIMARY KEY,
    -- How much was left at `filled_at`; 65,000,000 are one call. At the epoch nothing was, so that the
    -- first lease finds it full, whatever its capacity is.
    level       bigint      NOT NULL DEFAULT 0,
    filled_at   timestamptz NOT NULL DEFAULT 'epoch',
    -- Until when callers who were sent away have been asked to come back, one after the other.
    promised_at timestamptz NOT NULL DEFAULT 'epoch'
);

INSERT INTO nango_budget (class) VALUES ('start'), ('confirm'), ('upkeep'), ('profile');

GRANT SELECT, UPDATE ON nango_budget TO connections_worker;
