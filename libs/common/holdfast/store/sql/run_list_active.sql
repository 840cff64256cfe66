-- A thread's active runs: the one that runs, waits or was interrupted, then the queue. $1 tenant, $2 thread
SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status IN ('queued', 'running', 'waiting', 'interrupted')
ORDER BY status = 'queued', queue_rank
