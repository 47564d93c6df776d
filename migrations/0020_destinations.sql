-- Where a tenant is told, and what of, where that is not CLIENT_API_URL.
CREATE TABLE destinations (
    tenant_id      text        NOT NULL CHECK (tenant_id <> ''),
    -- Counts the changes, through a removal too: a row is never deleted, so that no version comes twice.
    version        bigint      NOT NULL CHECK (version > 0),
    -- Nothing: it was removed, and the tenant is told where CLIENT_API_URL says.
    url            text,
    -- Nothing: all of them.
    event_types    text[],
    -- Origins that a returnUrl may have, besides ALLOWED_ORIGINS.
    return_origins text[],
    -- PEM. Nothing: the system's roots and our CA.
    ca             text,
    -- Nothing: the URL's host.
    server_name    text,
    -- What the receiver verifies with, a line each: sealed.
    secrets        text,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id),
    CHECK (url IS NOT NULL OR secrets IS NULL)
);

ALTER TABLE destinations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON destinations TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON destinations FOR SELECT TO connections_worker USING (true);
GRANT SELECT, INSERT, UPDATE ON destinations TO connections_api;
GRANT SELECT ON destinations TO connections_worker;
