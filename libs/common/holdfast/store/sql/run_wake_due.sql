-- Queue waiting runs whose time has come or whose child has ended. Many reapers sweep at once: a row that another has locked is its
-- business (SKIP LOCKED), and the lock is taken before anything is settled, so that a cancel or an answer comes before or after it.
-- $1 at most
WITH seen AS MATERIALIZED (
    SELECT r.id, r.attempt FROM runs r
    WHERE r.status = 'waiting' AND r.id IN (
        SELECT w.run_id FROM waits w WHERE w.done_at IS NULL AND w.suspended AND w.wake_at <= now()
        UNION ALL
        SELECT w.run_id FROM waits w WHERE w.done_at IS NULL AND w.suspended AND w.child_run_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM runs c WHERE c.id = w.child_run_id
                          AND c.status IN ('queued', 'running', 'waiting', 'interrupted')))
    ORDER BY r.id LIMIT $1 FOR NO KEY UPDATE OF r SKIP LOCKED
), judged AS MATERIALIZED (
    SELECT id, waits_settle(id, attempt, '{}') AS over FROM seen
)
UPDATE runs r
SET status = 'queued', requeued_why = 'woken', crashes = 0, queued_at = now()
FROM judged j
WHERE r.id = j.id AND r.status = 'waiting' AND j.over IS NOT NULL
RETURNING r.id, r.pool
