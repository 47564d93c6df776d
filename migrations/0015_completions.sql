-- A callback that this service finishes at Nango itself, at once or when the application says so.
ALTER TABLE attempts
    -- Nango's cookie for the callback, and the callback's raw query until it is used: both sealed.
    ADD COLUMN cookie            text,
    ADD COLUMN query             text,
    -- Where the browser goes with a ticket, by which the application finishes a bound callback, once.
    ADD COLUMN return_url        text,
    ADD COLUMN ticket_hash       bytea,
    ADD COLUMN ticket_expires_at timestamptz,
    -- Why Nango says that it failed. It is believed when a look at the vault finds nothing.
    ADD COLUMN vault_said        text;
