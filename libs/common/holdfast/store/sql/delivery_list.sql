-- Deliveries, newest first. $1 tenant, $2 before this id (null: from the newest), $3 run, $4 webhook (null: any), $5 at most,
-- $6 only those that were delivered
SELECT * FROM deliveries
WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3::uuid IS NULL OR run_id = $3) AND ($4::uuid IS NULL OR webhook_id = $4)
  AND (NOT $6::boolean OR delivered_at IS NOT NULL)
ORDER BY id DESC LIMIT $5
