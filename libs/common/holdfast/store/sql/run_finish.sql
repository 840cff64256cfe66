-- The owner ends its run, or interrupts it (then it may be resumed, and says nothing on the thread yet). Fenced; a requested cancel wins over the outcome, in the same statement.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 outcome, $6 output, $7 error, $8 terminal event id, $9 the text
-- beyond what the record keeps
WITH ended AS (
    UPDATE runs
    SET status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE $5 END,
        output = CASE WHEN cancel_requested_at IS NULL AND $5 = 'completed' THEN $6::jsonb END,
        error = CASE WHEN cancel_requested_at IS NULL AND $5 IN ('failed', 'interrupted') THEN $7::jsonb END,
        run_owner_pod = NULL, run_owner_boot = NULL, finished_at = CASE WHEN cancel_requested_at IS NULL AND $5 = 'interrupted' THEN NULL ELSE now() END,
        last_progress_at = now(),
        terminal_event_id = $8
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
    RETURNING *
), closed AS (
    UPDATE attempts a SET ended_at = now(), ended_why = e.status FROM ended e WHERE a.run_id = e.id AND a.attempt = e.attempt
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, $9, error),
           CASE status WHEN 'completed' THEN 'complete' WHEN 'failed' THEN 'failed' ELSE 'incomplete' END
    FROM ended WHERE status <> 'interrupted'
)
SELECT e.status, e.output, e.error, e.parent_run_id, n.id AS next_id, n.pool AS next_pool
FROM ended e
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = e.tenant_id AND r.thread_id = e.thread_id
                   AND r.status = 'queued' ORDER BY queue_rank LIMIT 1) n ON true
