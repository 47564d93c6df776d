-- What is hastened and fails has used no try, and waits as long as it would have: a receiver that takes something now
-- and then must not use up, within an hour, what is meant to last for three days.
ALTER TABLE deliveries
    -- When it was due, where it was made due before that.
    ADD COLUMN hastened_from timestamptz;
