-- Deliveries, newest first: of one run by its own index, else of the tenant. The range is named by rows, so that no other index will do.
-- $1 tenant, $2 before this id (null: from the newest), $3 run, $4 webhook (null: any), $5 at most, $6 only those that were delivered
SELECT d.* FROM (
    (SELECT * FROM deliveries
     WHERE $3::uuid IS NULL AND (tenant_id, id) < ($1, coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
       AND (tenant_id, id) > ($1, '00000000-0000-0000-0000-000000000000')
       AND ($4::uuid IS NULL OR webhook_id = $4) AND (NOT $6::boolean OR delivered_at IS NOT NULL)
     ORDER BY tenant_id DESC, id DESC LIMIT $5)
    UNION ALL
    SELECT * FROM deliveries
    WHERE run_id = $3::uuid AND tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($4::uuid IS NULL OR webhook_id = $4)
      AND (NOT $6::boolean OR delivered_at IS NOT NULL)
) d
ORDER BY d.id DESC LIMIT $5
