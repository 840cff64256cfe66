-- What a follower of a thread has yet to see: the runs that have ended since $3, in that order, then the active ones: the one that runs,
-- waits or was interrupted, then the queue. $1 tenant, $2 thread, $3 since (null: only active ones), $4 runs that it has seen, $5 at most
SELECT id, status, attempt, terminal_event_id, output, error, run_owner_pod, run_keep_through(id) AS keep_through, now() AS looked_at
FROM runs
WHERE tenant_id = $1 AND thread_id = $2 AND id <> ALL ($4::uuid[])
  AND (status IN ('queued', 'running', 'waiting', 'interrupted') OR finished_at > $3)
ORDER BY finished_at, status = 'queued', queue_rank LIMIT $5
