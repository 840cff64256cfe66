-- A tenant's active runs, the newest first, and the place in its changes that they stand for: they show every change up to there,
-- and perhaps some of the next ones. Each branch is served by the index of its status. $1 tenant, $2 at most
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, r.*
FROM (SELECT 1) one
LEFT JOIN LATERAL (
    SELECT id, thread_id, agent, status, attempt, status = 'running' AND cancel_requested_at IS NOT NULL AS cancelling,
           created_at, coalesce(changed_at, claimed_at, queued_at) AS at
    FROM (SELECT * FROM runs WHERE tenant_id = $1 AND status = 'queued'
          UNION ALL
          SELECT * FROM runs WHERE tenant_id = $1 AND status IN ('running', 'waiting')
          UNION ALL
          SELECT * FROM runs WHERE tenant_id = $1 AND status = 'interrupted') active
    ORDER BY id DESC LIMIT $2
) r ON true
