-- What happened to a connection, as its client application is told: the exact bytes of the notification,
-- so that a repeat is the same to the last byte.
CREATE TABLE events (
    tenant_id     text        NOT NULL,
    event_id      uuid        NOT NULL,
    connection_id uuid        NOT NULL,
    sequence      bigint      NOT NULL,
    type          text        NOT NULL,
    occurred_at   timestamptz NOT NULL,
    body          text        NOT NULL,
    PRIMARY KEY (tenant_id, event_id),
    UNIQUE (tenant_id, connection_id, sequence),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections
);

ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON events TO connections_api
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY worker ON events TO connections_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON events TO connections_api, connections_worker;
