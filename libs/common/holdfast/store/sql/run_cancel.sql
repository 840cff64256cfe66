-- Cancel, one guarded statement for every status. A running run is only marked: its owner ends it, or after the grace the reaper.
-- Any other active run ends here, with an attempt of its own for the event. A terminal run matches no row.
-- $1 tenant, $2 run, $3 only while it is queued on this thread (null: whatever it does)
WITH hit AS (
    UPDATE runs
    SET cancel_requested_at = coalesce(cancel_requested_at, now()),
        status = CASE status WHEN 'running' THEN status ELSE 'cancelled' END,
        attempt = attempt + CASE status WHEN 'running' THEN 0 ELSE 1 END,
        terminal_event_id = CASE status WHEN 'running' THEN NULL ELSE (attempt + 1) || '-1' END,
        error = NULL,
        finished_at = CASE status WHEN 'running' THEN NULL ELSE now() END
    WHERE tenant_id = $1 AND id = $2 AND status IN ('queued', 'running', 'waiting', 'interrupted')
      AND ($3::text IS NULL OR status = 'queued' AND thread_id = $3)
    RETURNING *
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, '', NULL), 'incomplete'
    FROM hit WHERE status = 'cancelled' AND claimed_at IS NOT NULL
)
SELECT h.*, run_keep_through(h.id) AS keep_through, n.id AS next_id, n.pool AS next_pool
FROM hit h
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = h.tenant_id AND r.thread_id = h.thread_id AND r.id <> h.id
                   AND r.status = 'queued' AND h.status = 'cancelled' ORDER BY queue_rank LIMIT 1) n ON true
