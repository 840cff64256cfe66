-- The first run of each thread's queue, thread by thread, and whether a runner could claim it now: no run of the thread runs or waits, and
-- whoever queued it has had its time to publish a request. The index is stepped through from thread to thread, so that a queue of any
-- length costs one step. In their order after a place, so that a sweep which stops at its bound goes on where it stopped.
-- $1 and $2 tenant and thread of the place, $3 at least this old in seconds, $4 at most so many threads
WITH RECURSIVE heads AS (
    (SELECT tenant_id, thread_id, id, pool, queued_at FROM runs
     WHERE status = 'queued' AND (tenant_id, thread_id) > ($1::text, $2::text) ORDER BY tenant_id, thread_id, queue_rank LIMIT 1)
    UNION ALL
    SELECT n.* FROM heads h CROSS JOIN LATERAL (
        SELECT r.tenant_id, r.thread_id, r.id, r.pool, r.queued_at FROM runs r
        WHERE r.status = 'queued' AND (r.tenant_id, r.thread_id) > (h.tenant_id, h.thread_id)
        ORDER BY r.tenant_id, r.thread_id, r.queue_rank LIMIT 1) n
)
SELECT h.tenant_id, h.thread_id, h.id, h.pool,
       h.queued_at < now() - make_interval(secs => $3)
       AND (SELECT o.id FROM runs o WHERE o.tenant_id = h.tenant_id AND o.thread_id = h.thread_id
            AND o.status IN ('running', 'waiting') LIMIT 1) IS NULL AS claimable  -- not EXISTS, for which all active runs are read
FROM heads h LIMIT $4
