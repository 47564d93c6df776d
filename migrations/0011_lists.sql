-- Lists go from the newest connection to the oldest, a page at a time: with or without a filter, a page
-- costs what it shows, however many connections the tenant has.
CREATE INDEX connections_newest ON connections
    (tenant_id, created_at DESC, connection_id DESC);
CREATE INDEX connections_newest_of_sub ON connections
    (tenant_id, sub, created_at DESC, connection_id DESC);
CREATE INDEX connections_newest_of_provider ON connections
    (tenant_id, provider, created_at DESC, connection_id DESC);
CREATE INDEX connections_newest_of_status ON connections
    (tenant_id, status, created_at DESC, connection_id DESC);
CREATE INDEX connections_newest_of_account ON connections
    (tenant_id, provider_account_id, created_at DESC, connection_id DESC)
    WHERE provider_account_id IS NOT NULL;
