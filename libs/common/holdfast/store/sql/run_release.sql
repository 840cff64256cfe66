-- The owner gives its run back (drain, deploy). Fenced; no crash is counted. A requested cancel ends it here.
-- A boot that has no task for the run does not know what this attempt has shown: then $5 and $6 are null, an end takes an attempt
-- of its own for its event, and the text is what the record keeps.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 the id of the next event of this attempt, $6 the text beyond what the record keeps
WITH given AS (
    UPDATE runs
    SET status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'queued' END,
        finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN now() END,
        terminal_event_id = CASE WHEN cancel_requested_at IS NOT NULL THEN coalesce($5, ($4 + 1) || '-1') END,
        attempt = attempt + CASE WHEN cancel_requested_at IS NOT NULL AND $5 IS NULL THEN 1 ELSE 0 END,
        run_owner_pod = NULL, run_owner_boot = NULL, queued_at = now(),
        requeued_why = CASE WHEN cancel_requested_at IS NULL THEN 'released' END
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
    RETURNING *
), closed AS (
    UPDATE attempts a SET ended_at = now(), ended_why = CASE g.status WHEN 'queued' THEN 'released' ELSE g.status END
    FROM given g WHERE a.run_id = g.id AND a.attempt = $4
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, coalesce($6, ''), NULL), 'incomplete'
    FROM given WHERE status = 'cancelled'
)
SELECT g.status, g.parent_run_id, CASE WHEN g.status = 'queued' THEN g.id ELSE n.id END AS next_id,
       CASE WHEN g.status = 'queued' THEN g.pool ELSE n.pool END AS next_pool
FROM given g
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = g.tenant_id AND r.thread_id = g.thread_id
                   AND r.status = 'queued' ORDER BY queue_rank LIMIT 1) n ON true
