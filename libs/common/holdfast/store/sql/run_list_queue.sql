-- A thread's queue, the next run first. $1 tenant, $2 thread
SELECT * FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status = 'queued' ORDER BY queue_rank, id
