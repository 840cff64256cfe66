-- Put a queued run before all others of its thread's queue, within the transaction that holds the thread's lock: of two that are put
-- first, the later one is. It does not overtake a run that was begun and is queued again. Guarded: a run that was claimed meanwhile
-- is left alone. $1 tenant, $2 thread, $3 run
UPDATE runs r
SET queue_rank = coalesce((SELECT min(q.queue_rank) - 1 FROM runs q
                           WHERE q.tenant_id = $1 AND q.thread_id = $2 AND q.status = 'queued' AND q.claimed_at IS NULL), r.queue_rank)
WHERE r.tenant_id = $1 AND r.thread_id = $2 AND r.id = $3 AND r.status = 'queued'
RETURNING *
