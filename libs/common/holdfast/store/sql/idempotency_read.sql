-- What an idempotency key was used for. Read after the insert found it taken, in a snapshot of its own that sees the winner's row.
-- $1 tenant, $2 key
SELECT fingerprint, run_id FROM idempotency_keys WHERE tenant_id = $1 AND key = $2
