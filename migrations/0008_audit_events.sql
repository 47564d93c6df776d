-- The trail: who did what, when, to which connection. Rows are added and read, never changed.
CREATE TABLE audit_events (
    tenant_id     text        NOT NULL,
    audit_id      uuid        NOT NULL,
    at            timestamptz NOT NULL,
    -- A principal, or one of browser, vault, service.
    actor         text        NOT NULL,
    action        text        NOT NULL,
    connection_id uuid        NOT NULL,
    request_id    text,
    detail        jsonb       NOT NULL,
    PRIMARY KEY (tenant_id, audit_id)
);

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_events TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON audit_events TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON audit_events TO connections_api, connections_worker;
