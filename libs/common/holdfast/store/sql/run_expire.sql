-- End a run whose deadline has passed, or that has not moved for too long. It names the owner and the attempt that were seen, and looks
-- at everything again once the row is locked: a checkpoint, a progress or a longer step's intent may have come first. A step's intent
-- changes nothing of the run's row, so the steps are read after the lock, with a snapshot of their own. A requested cancel wins.
-- $1 run, $2 attempt, $3 pod, $4 boot (null: nobody owns it), $5 why
WITH seen AS MATERIALIZED (
    SELECT id, attempt, status, deadline_at, last_progress_at, idle_timeout_s FROM runs
    WHERE id = $1 AND attempt = $2 AND run_owner_pod IS NOT DISTINCT FROM $3::text AND run_owner_boot IS NOT DISTINCT FROM $4::uuid
      AND status IN ('queued', 'running', 'waiting')
    FOR NO KEY UPDATE
), due AS MATERIALIZED (
    SELECT id FROM seen
    WHERE CASE $5::text
        WHEN 'deadline' THEN deadline_at <= now()
        WHEN 'stalled' THEN status = 'running'
            AND last_progress_at < now() - make_interval(secs => greatest(idle_timeout_s, run_longest_step(id, attempt)))
        END
), ended AS (
    UPDATE runs r
    SET status = CASE WHEN r.cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
        error = CASE WHEN r.cancel_requested_at IS NULL THEN jsonb_build_object('code', $5::text, 'message',
                    CASE $5::text WHEN 'deadline' THEN 'its deadline passed before it had ended'
                                  ELSE 'nothing moved for longer than its idle timeout' END) END,
        run_owner_pod = NULL, run_owner_boot = NULL, finished_at = now(), attempt = r.attempt + 1,
        terminal_event_id = (r.attempt + 1) || '-1'
    FROM due d WHERE r.id = d.id AND r.status IN ('queued', 'running', 'waiting')
    RETURNING r.*
), closed AS (
    UPDATE attempts a SET ended_at = now(), ended_why = e.status FROM ended e WHERE a.run_id = e.id AND a.ended_at IS NULL
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, '', error),
           CASE status WHEN 'failed' THEN 'failed' ELSE 'incomplete' END
    FROM ended WHERE claimed_at IS NOT NULL
)
SELECT e.id, e.status, e.pool, e.attempt, e.error, e.terminal_event_id, e.parent_run_id, run_keep_through(e.id) AS keep_through,
       n.id AS next_id, n.pool AS next_pool
FROM ended e
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = e.tenant_id AND r.thread_id = e.thread_id AND r.id <> e.id
                   AND r.status = 'queued' ORDER BY queue_rank LIMIT 1) n ON true
