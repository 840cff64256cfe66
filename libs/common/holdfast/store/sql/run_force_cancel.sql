-- End a run whose owner does not heed its cancel. Names the owner and the attempt that were seen, and looks at the grace again.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 grace in seconds
WITH ended AS (
    UPDATE runs
    SET status = 'cancelled', run_owner_pod = NULL, run_owner_boot = NULL, finished_at = now(), attempt = attempt + 1,
        terminal_event_id = (attempt + 1) || '-1'
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
      AND cancel_requested_at <= now() - make_interval(secs => $5)
    RETURNING *
), closed AS (
    UPDATE attempts a SET ended_at = now(), ended_why = 'cancelled' FROM ended e WHERE a.run_id = e.id AND a.ended_at IS NULL
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, '', NULL), 'incomplete' FROM ended
)
SELECT e.id, e.status, e.pool, e.attempt, e.error, e.terminal_event_id, e.parent_run_id, run_keep_through(e.id) AS keep_through,
       n.id AS next_id, n.pool AS next_pool
FROM ended e
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = e.tenant_id AND r.thread_id = e.thread_id
                   AND r.status = 'queued' ORDER BY queue_rank LIMIT 1) n ON true
