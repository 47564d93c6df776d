-- An installation of a GitHub App that an owner of the organization has to approve.
ALTER TABLE attempts ADD COLUMN approval_awaited_at timestamptz;
COMMENT ON COLUMN attempts.approval_awaited_at IS
    'When the callback said that an owner of the organization has to approve the installation (setup_action=request). Such an attempt is looked up for seven days. Null for all others.';
