-- Delete a bounded batch of deliveries that have been done for so long. Safe to repeat, and beside others.
-- $1 kept for so many seconds, $2 at most
DELETE FROM deliveries WHERE id = ANY (ARRAY(
    SELECT id FROM deliveries
    WHERE next_at IS NULL AND coalesce(delivered_at, gave_up_at) < now() - make_interval(secs => $1::double precision)
    ORDER BY coalesce(delivered_at, gave_up_at) LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING id
