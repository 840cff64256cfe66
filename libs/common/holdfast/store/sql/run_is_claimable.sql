-- Could a runner claim this run now? First of its thread's queue, and no run of the thread running or waiting.
SELECT r.id FROM runs r
WHERE r.id = $1 AND r.status || '' = 'queued'
  AND NOT (SELECT EXISTS (SELECT FROM runs o WHERE o.tenant_id = r.tenant_id AND o.thread_id = r.thread_id
                          AND o.status IN ('running', 'waiting')))
  AND NOT (SELECT EXISTS (SELECT FROM runs o WHERE o.tenant_id = r.tenant_id AND o.thread_id = r.thread_id
                          AND o.status = 'queued' AND o.queue_rank < r.queue_rank))
