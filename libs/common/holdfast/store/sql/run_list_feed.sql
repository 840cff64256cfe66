-- What a follower of a thread has yet to see, in the order of the thread's queue, in which runs are claimed: the active ones (one runs,
-- waits or was interrupted, the others are queued), and those that have ended behind the one that the follower began with. That order
-- does not change when runs end, so a cursor in any of them gives what every other follower is shown behind it.
-- $1 tenant, $2 thread, $3 runs that it has seen, the one that it began with first (none: only active ones), $4 at most
SELECT id, status, attempt, terminal_event_id, output, error, run_owner_pod, run_keep_through(id) AS keep_through
FROM (
    SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status IN ('running', 'waiting')
    UNION ALL
    SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status = 'interrupted'
    UNION ALL
    SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status = 'queued'
    UNION ALL
    SELECT * FROM runs WHERE cardinality($3::uuid[]) > 0 AND tenant_id = $1 AND thread_id = $2 AND status IN ('completed', 'failed', 'cancelled')
      AND queue_rank > (SELECT b.queue_rank FROM runs b WHERE b.id = ($3::uuid[])[1])
) r
WHERE id <> ALL ($3::uuid[])
ORDER BY queue_rank LIMIT $4
