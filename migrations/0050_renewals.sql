-- A credential that was renewed by an attempt that nobody waited for may be another account's.
ALTER TABLE connections ADD COLUMN renewed_by uuid;
COMMENT ON COLUMN connections.renewed_by IS
    'The attempt that renewed the credential at Nango after it had ended here, if one did and its account is being or was verified';

-- How many tokens of an integration are rejected is counted before one of them is believed to be revoked.
CREATE INDEX connections_rejected ON connections (integration_id)
    WHERE rejected_since IS NOT NULL OR reason = 'token_rejected';
