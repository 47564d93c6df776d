-- The last look at the vault for a connection, so that many hints of it share one: a hint costs its sender
-- nothing, and each look is one of the few calls that Nango takes.
ALTER TABLE connections
    -- When it began.
    ADD COLUMN looked_at   timestamptz,
    -- Whether the vault listed anything, once that was applied; nothing while it is under way.
    ADD COLUMN look_found  boolean,
    -- The attempt whose user waits, and how many looks of it did not wait for their time.
    ADD COLUMN hurried_for uuid,
    ADD COLUMN hurries     smallint NOT NULL DEFAULT 0;

-- Which looks answer a receipt: those that began after this.
ALTER TABLE receipts ADD COLUMN asked_at timestamptz;
UPDATE receipts SET asked_at = received_at WHERE settled_at IS NULL;
