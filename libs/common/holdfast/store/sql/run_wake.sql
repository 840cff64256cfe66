-- Queue these runs if what they wait for is over: whoever has ended a child names its parent. A suspend of the parent that is on its way
-- is waited for (hence `running` too), and looked at again after it: else its waiting run would be left to the next sweep. Of many
-- wakes, and of a wake and a cancel, the first to lock the row wins; waits_settle then sees what came before.
-- $1 runs, $2 at most
WITH seen AS MATERIALIZED (
    SELECT r.id, r.status, r.attempt
    FROM (SELECT w.id FROM unnest($1::uuid[]) AS w (id) ORDER BY w.id LIMIT $2) w
    CROSS JOIN LATERAL (SELECT * FROM runs WHERE runs.id = w.id AND runs.status || '' IN ('running', 'waiting') FOR NO KEY UPDATE) r
), judged AS MATERIALIZED (
    SELECT id, waits_settle(id, attempt, '{}') AS over FROM seen WHERE status = 'waiting'
)
UPDATE runs r
SET status = 'queued', requeued_why = 'woken', crashes = 0, queued_at = now()
FROM judged j
WHERE r.id = j.id AND r.status || '' IN ('running', 'waiting')  -- of this statement's snapshot; the locked row was waiting
  AND j.over IS NOT NULL
RETURNING r.id, r.pool
