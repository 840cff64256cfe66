-- The owner leaves its run waiting. Fenced by locking the run's row. An answer may have come, or the time, or the child's end, while the
-- run was on its way here: the row is locked, then waits_settle looks with a snapshot of its own, and the run is queued at once.
-- A child that ends later finds the run waiting, since whoever ends it wakes its parent afterwards. A requested cancel ends the run here.
-- What was shown outside of steps is kept like a checkpoint's, with the attempt; in an end it is part of the message.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 waits, $6 the ids of their run.waiting, $7 the same or null where the log lost them,
-- $8 the id of the next event of this attempt, $9 shown text, $10 its finish id, $11 its last event id, $12 emits, $13 recorded: what
-- was shown may depend on it
WITH owned AS MATERIALIZED (
    SELECT id, attempt, cancel_requested_at FROM runs
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
    FOR NO KEY UPDATE
), marked AS (
    UPDATE waits w SET suspended = true, finish_id = l.finish_id, last_event_id = l.last_event_id, recorded = w.recorded || $13::jsonb
    FROM owned o, unnest($5::uuid[], $6::text[], $7::text[]) AS l (id, finish_id, last_event_id)
    WHERE w.id = l.id AND w.run_id = o.id AND w.done_at IS NULL
    RETURNING w.id
), judged AS MATERIALIZED (
    SELECT id, CASE WHEN cancel_requested_at IS NULL AND (SELECT count(*) FROM marked) >= 0  -- after the marks
                    THEN waits_settle(id, attempt, $5::uuid[]) END AS over
    FROM owned
), gone AS (
    UPDATE runs r
    SET status = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled' WHEN j.over IS NOT NULL THEN 'queued' ELSE 'waiting' END,
        requeued_why = CASE WHEN r.cancel_requested_at IS NULL THEN j.over END,
        crashes = CASE WHEN r.cancel_requested_at IS NULL AND j.over IS NOT NULL THEN 0 ELSE r.crashes END,
        queued_at = CASE WHEN r.cancel_requested_at IS NULL AND j.over IS NOT NULL THEN now() ELSE r.queued_at END,
        finished_at = CASE WHEN r.cancel_requested_at IS NOT NULL THEN now() END,
        terminal_event_id = CASE WHEN r.cancel_requested_at IS NOT NULL THEN $8::text END,
        run_owner_pod = NULL, run_owner_boot = NULL, last_progress_at = now()
    FROM judged j
    WHERE r.id = $1 AND r.id = j.id AND r.status || '' = 'running'  -- by its id: see step_intent
    RETURNING r.*
), closed AS (
    UPDATE attempts a
    SET ended_at = now(), ended_why = CASE g.status WHEN 'cancelled' THEN 'cancelled' ELSE 'waiting' END,
        shown_text = $9, finish_id = $10, last_event_id = $11, emits = $12::jsonb
    FROM gone g WHERE a.run_id = g.id AND a.attempt = $4
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, $9, NULL), 'incomplete' FROM gone WHERE status = 'cancelled'
)
SELECT g.status, g.parent_run_id, CASE WHEN g.status = 'queued' THEN g.id ELSE n.id END AS next_id,
       CASE WHEN g.status = 'queued' THEN g.pool ELSE n.pool END AS next_pool
FROM gone g
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = g.tenant_id AND r.thread_id = g.thread_id
                   AND r.status = 'queued' AND g.status = 'cancelled' ORDER BY queue_rank LIMIT 1) n ON true
