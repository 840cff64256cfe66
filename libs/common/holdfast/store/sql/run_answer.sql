-- Answer a question, once. Of two answers, and of an answer and a cancel, the first to lock the run's row wins: the other finds the wait
-- done, or the run ended, and matches nothing. A question is open to answers once its suspend has committed. A run that something else
-- has woken keeps its status and the answer, and its next suspend finds it. The step's result comes with the id of its run.waiting.
-- $1 tenant, $2 run, $3 wait, $4 answer, $5 the step's status, $6 output, $7 error
WITH hit AS MATERIALIZED (
    SELECT id, attempt FROM runs
    WHERE tenant_id = $1 AND id = $2 AND status IN ('queued', 'running', 'waiting', 'interrupted')
    FOR NO KEY UPDATE
), won AS (
    UPDATE waits w SET done_at = now(), answer = $4::jsonb
    FROM hit h
    WHERE w.id = $3 AND w.run_id = h.id AND w.kind IN ('ask', 'unknown') AND w.suspended AND w.done_at IS NULL
    RETURNING w.run_id, w.position, w.finish_id, w.last_event_id, h.attempt
), answered AS (
    UPDATE steps s
    SET status = $5,
        output = CASE $5 WHEN 'completed' THEN $6::jsonb END,
        error = CASE $5 WHEN 'failed' THEN $7::jsonb END,
        attempt = CASE $5 WHEN 'retry' THEN s.attempt ELSE w.attempt END,
        finish_id = CASE $5 WHEN 'retry' THEN s.finish_id ELSE w.finish_id END,
        last_event_id = CASE $5 WHEN 'retry' THEN s.last_event_id ELSE w.last_event_id END,
        told = $5 = 'retry', finished_at = CASE $5 WHEN 'retry' THEN NULL ELSE now() END
    FROM won w
    WHERE s.run_id = $2 AND s.run_id = w.run_id AND s.position = w.position AND s.status = 'started'
)
UPDATE runs r
SET status = CASE r.status WHEN 'waiting' THEN 'queued' ELSE r.status END,
    requeued_why = CASE r.status WHEN 'waiting' THEN 'answered' ELSE r.requeued_why END,
    crashes = CASE r.status WHEN 'waiting' THEN 0 ELSE r.crashes END,
    queued_at = CASE r.status WHEN 'waiting' THEN now() ELSE r.queued_at END
FROM won w
WHERE r.id = $2 AND r.id = w.run_id AND r.status || '' IN ('queued', 'running', 'waiting', 'interrupted')
RETURNING r.id, r.status, r.pool, r.attempt, r.parent_run_id
