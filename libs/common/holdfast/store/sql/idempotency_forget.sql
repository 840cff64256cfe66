-- Forget a bounded batch of idempotency keys that were used so long ago. Their runs' ids sort by time, so the oldest are found without
-- an index of times. Safe to repeat, and beside others. $1 kept for so many seconds, $2 at most
DELETE FROM idempotency_keys WHERE run_id = ANY (ARRAY(
    SELECT run_id FROM idempotency_keys
    WHERE run_id < (SELECT uuidv7(make_interval(secs => -$1::double precision)))
      AND created_at < now() - make_interval(secs => $1::double precision)
    ORDER BY run_id LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING run_id
