-- Deliveries that are still to come, or were given up, newest first: few among many, so they have an index of their own.
-- $1 tenant, $2 before this id (null: from the newest), $3 run, $4 webhook (null: any), $5 at most, $6 those given up, else the others
SELECT * FROM deliveries
WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3::uuid IS NULL OR run_id = $3) AND ($4::uuid IS NULL OR webhook_id = $4)
  AND delivered_at IS NULL AND (gave_up_at IS NOT NULL) = $6::boolean
ORDER BY id DESC LIMIT $5
