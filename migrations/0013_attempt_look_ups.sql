-- An open attempt is looked up at the vault after its callback, and once more when its time is up: a
-- webhook may never come.
ALTER TABLE attempts
    -- How often the vault was asked since the callback, and had nothing.
    ADD COLUMN looks    integer NOT NULL DEFAULT 0,
    -- How often the vault could not be asked.
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    -- As in `receipts`.
    ADD COLUMN due_at   timestamptz,
    ADD COLUMN lease    uuid;
UPDATE attempts SET due_at = deadline_at;
ALTER TABLE attempts ALTER COLUMN due_at SET NOT NULL;

CREATE INDEX attempts_due ON attempts (due_at) WHERE status = 'open';
