-- Take an idempotency key for a run; no row when somebody has it. A race waits here for the winner's commit.
-- $1 tenant, $2 key, $3 fingerprint, $4 run
INSERT INTO idempotency_keys (tenant_id, key, fingerprint, run_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, key) DO NOTHING RETURNING run_id
