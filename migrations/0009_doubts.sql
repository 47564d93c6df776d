-- What was noticed of a connection and is not yet believed: each needs a second look.
ALTER TABLE connections
    -- Since when the vault has nothing of its name.
    ADD COLUMN missing_since         timestamptz,
    -- Since when the vault cannot refresh its token.
    ADD COLUMN refresh_failing_since timestamptz,
    -- Since when the provider does not take its token.
    ADD COLUMN rejected_since        timestamptz;
