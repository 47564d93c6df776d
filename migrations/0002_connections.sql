-- One end user's authorised link through one integration, as far as it is known.
CREATE TABLE connections (
    tenant_id           text        NOT NULL CHECK (tenant_id <> ''),
    connection_id       uuid        NOT NULL,
    sub                 text        NOT NULL,
    provider            text        NOT NULL,
    integration_id      text        NOT NULL,
    status              text        NOT NULL CHECK (status IN
                            ('pending', 'active', 'needs_reauth', 'failed', 'expired', 'deleting', 'deleted')),
    reason              text,
    -- When `status` was entered.
    since               timestamptz NOT NULL,
    -- When the vault was last seen to agree.
    checked_at          timestamptz,
    -- Counts the changes, so that a reader can wait for the next one.
    version             bigint      NOT NULL CHECK (version > 0),
    -- The sequence of the newest event; dense, because it changes under this row's lock.
    sequence            bigint      NOT NULL CHECK (sequence >= 0),
    -- The attempt that may still succeed.
    open_attempt_id     uuid,
    -- The vault's name for it; unknown until the vault says it.
    nango_connection_id text,
    requested_scopes    text[]      NOT NULL,
    client_metadata     jsonb       NOT NULL,
    provider_account_id text,
    display_name        text,
    username            text,
    avatar              text,
    created_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, connection_id)
);

-- A webhook without tags is matched by the vault's name alone, before its tenant is known.
CREATE INDEX connections_by_vault_name ON connections (nango_connection_id)
    WHERE nango_connection_id IS NOT NULL;

-- A simplified webhook may name a connection by our id alone.
CREATE INDEX connections_by_id ON connections (connection_id);

ALTER TABLE connections ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON connections TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON connections TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON connections TO connections_api, connections_worker;
