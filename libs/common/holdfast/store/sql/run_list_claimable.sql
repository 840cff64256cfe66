-- Queued runs that a runner could claim now: first of their thread's queue, no run of it running or waiting. In id order after $1, so
-- that a sweep which stops at its bound goes on where it stopped. $2 at least this old in seconds, $3 at most
SELECT r.id, r.pool FROM runs r
WHERE r.status = 'queued' AND r.id > $1 AND r.queued_at < now() - make_interval(secs => $2)
  AND NOT EXISTS (SELECT FROM runs o WHERE o.tenant_id = r.tenant_id AND o.thread_id = r.thread_id
                  AND (o.status IN ('running', 'waiting') OR o.status = 'queued' AND o.queue_rank < r.queue_rank))
ORDER BY r.id LIMIT $3
