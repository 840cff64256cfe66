-- Runs, newest first. Of one thread by its own index; else of each status that is asked for the newest, by the index of statuses, and of
-- those the newest: so a status that few runs have is found among millions. The ranges are named by rows, so that no other index will do.
-- $1 tenant, $2 before this id (null: from the newest), $3 statuses, $4 thread, $5 agent (null: any), $6 at most
SELECT r.* FROM (
    SELECT of_status.*
    FROM unnest(coalesce($3::text[], ARRAY['queued', 'running', 'waiting', 'interrupted', 'completed', 'failed', 'cancelled'])) AS s (status)
    CROSS JOIN LATERAL (
        SELECT * FROM runs
        WHERE $4::text IS NULL AND (tenant_id, runs.status, id) < ($1, s.status, coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
          AND (tenant_id, runs.status, id) > ($1, s.status, '00000000-0000-0000-0000-000000000000')
          AND ($5::text IS NULL OR agent = $5)
        ORDER BY tenant_id DESC, runs.status DESC, id DESC LIMIT $6) of_status
    UNION ALL
    (SELECT * FROM runs
     WHERE $4::text IS NOT NULL AND tenant_id = $1 AND thread_id = $4
       AND id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
       AND ($3::text[] IS NULL OR status = ANY ($3)) AND ($5::text IS NULL OR agent = $5)
     ORDER BY tenant_id, thread_id, id DESC LIMIT $6)
) r
ORDER BY r.id DESC LIMIT $6
