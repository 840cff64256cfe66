-- A thread's active runs: the one that runs, waits or was interrupted, then the queue. Each branch is served by an index that holds no
-- ended run. $1 tenant, $2 thread
SELECT * FROM (
    SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status IN ('running', 'waiting')
    UNION ALL
    SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status = 'interrupted'
    UNION ALL
    SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status = 'queued'
) active
ORDER BY status = 'queued', queue_rank
