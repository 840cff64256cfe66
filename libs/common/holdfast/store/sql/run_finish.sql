-- Owners end their runs, or interrupt them (then they may be resumed, and say nothing on the thread yet). Fenced; a requested cancel wins
-- over the outcome, in the same statement.
-- Arrays, an element for each call: $1 runs, $2 pods, $3 boots, $4 attempts, $5 outcomes, $6 outputs, $7 errors, $8 terminal event ids,
-- $9 the texts beyond what the record keeps; JSON as text
-- The LIMIT is for the planner: a number that it does not know counts as few, and the plan is kept (see submit.sql).
-- `status || ''`: by its id, and not by a partial index, which a plan that was made while nothing ran would read as a whole.
WITH owned AS (
    SELECT c.*
    FROM (SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) WITH ORDINALITY
                       AS c (run_id, pod, boot, attempt, outcome, output, error, terminal_event_id, shown_text, n)
          LIMIT cardinality($1)) c
    JOIN runs r ON r.id = c.run_id
    WHERE r.run_owner_pod = c.pod AND r.run_owner_boot = c.boot AND r.attempt = c.attempt AND r.status || '' = 'running'
    ORDER BY r.id FOR NO KEY UPDATE OF r
), ended AS (
    UPDATE runs r
    SET status = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE o.outcome END,
        output = CASE WHEN r.cancel_requested_at IS NULL AND o.outcome = 'completed' THEN o.output::jsonb END,
        error = CASE WHEN r.cancel_requested_at IS NULL AND o.outcome IN ('failed', 'interrupted') THEN o.error::jsonb END,
        run_owner_pod = NULL, run_owner_boot = NULL,
        finished_at = CASE WHEN r.cancel_requested_at IS NULL AND o.outcome = 'interrupted' THEN NULL ELSE now() END,
        last_progress_at = now(),
        terminal_event_id = o.terminal_event_id
    FROM owned o
    WHERE r.id = o.run_id AND r.run_owner_pod = o.pod AND r.run_owner_boot = o.boot AND r.attempt = o.attempt AND r.status || '' = 'running'
    RETURNING o.n, o.shown_text, r.id, r.tenant_id, r.thread_id, r.attempt, r.status, r.output, r.error, r.parent_run_id
), closed AS (
    UPDATE attempts a SET ended_at = now(), ended_why = e.status FROM ended e WHERE a.run_id = e.id AND a.attempt = e.attempt
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, shown_text, error),
           CASE status WHEN 'completed' THEN 'complete' WHEN 'failed' THEN 'failed' ELSE 'incomplete' END
    FROM ended WHERE status <> 'interrupted'
)
SELECT e.n, e.status, e.output, e.error, e.parent_run_id, q.id AS next_id, q.pool AS next_pool
FROM ended e
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = e.tenant_id AND r.thread_id = e.thread_id
                   AND r.status = 'queued' ORDER BY queue_rank LIMIT 1) q ON true
