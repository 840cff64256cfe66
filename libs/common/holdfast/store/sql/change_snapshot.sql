-- A tenant's active runs, the newest first, and the place in its changes that they stand for: they show every change up to there,
-- and perhaps some of the next ones. Of each status the newest are read, not all. $1 tenant, $2 at most
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, r.*
FROM (SELECT 1) one
LEFT JOIN LATERAL (
    SELECT a.id, a.thread_id, a.agent, a.status, a.attempt, a.status = 'running' AND a.cancel_requested_at IS NOT NULL AS cancelling,
           a.created_at, coalesce(a.changed_at, a.claimed_at, a.queued_at) AS at
    FROM unnest(ARRAY['queued', 'running', 'waiting', 'interrupted']) AS s (status)
    CROSS JOIN LATERAL (
        SELECT id, thread_id, agent, runs.status, attempt, cancel_requested_at, created_at, changed_at, claimed_at, queued_at
        FROM runs
        WHERE (tenant_id, runs.status, id) > ($1, s.status, '00000000-0000-0000-0000-000000000000')
          AND (tenant_id, runs.status, id) <= ($1, s.status, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
        ORDER BY tenant_id DESC, runs.status DESC, id DESC LIMIT $2) a
    ORDER BY a.id DESC LIMIT $2
) r ON true
