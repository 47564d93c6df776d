-- What the user granted, what an open attempt requests, and how the last attempt ended.
ALTER TABLE connections
    ADD COLUMN authorized_scopes          text[],
    ADD COLUMN covered_scopes             text[],
    ADD COLUMN asked_scopes               text[],
    ADD COLUMN last_authorization_outcome text,
    ADD COLUMN last_authorization_reason  text,
    ADD COLUMN last_authorization_at      timestamptz;
COMMENT ON COLUMN connections.authorized_scopes IS
    'The scopes that the user granted, as the provider names them; NULL while they are not known';
COMMENT ON COLUMN connections.covered_scopes IS
    'authorized_scopes, and every scope that they include by the provider''s description';
COMMENT ON COLUMN connections.asked_scopes IS
    'What the open attempt requests, where that differs from requested_scopes; its success makes them the requested ones';
COMMENT ON COLUMN connections.last_authorization_outcome IS
    'How the last attempt that ended did: succeeded, failed, expired or superseded; NULL if none ended since migration 0037';
COMMENT ON COLUMN connections.last_authorization_reason IS 'Why it failed or expired, by a stable name';
COMMENT ON COLUMN connections.last_authorization_at IS 'When it ended';

ALTER TABLE attempts ADD COLUMN callback_scopes text[];
COMMENT ON COLUMN attempts.callback_scopes IS
    'What the callback''s scope parameter said, as a browser brought it; read only where the provider is described to say it';
