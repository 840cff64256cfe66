-- The newest fork of a run on its own thread that the caller does not know of, within the transaction that holds the thread's lock.
-- $1 tenant, $2 original, $3 thread, $4 known
SELECT * FROM runs WHERE tenant_id = $1 AND forked_from = $2 AND thread_id = $3 AND id <> ALL ($4::uuid[]) ORDER BY queue_rank DESC LIMIT 1
