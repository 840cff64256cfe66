-- Take what is due, for as long as the lease lasts. Each receiver has its share: the index is stepped through receiver by receiver, so
-- that a thousand messages for one that does not answer hold up nobody else. Those to whom least is being sent come first, the others
-- by chance: else the first by name would have every place as it gets free. Locked rows are another gateway's.
-- $1 lease in seconds, $2 at most, $3 receivers that are being sent to, $4 how many each of those may still get, $5 how many others may
WITH RECURSIVE receivers AS (
    (SELECT target FROM deliveries WHERE next_at IS NOT NULL ORDER BY target LIMIT 1)
    UNION ALL
    SELECT (SELECT d.target FROM deliveries d WHERE d.next_at IS NOT NULL AND d.target > r.target ORDER BY d.target LIMIT 1)
    FROM receivers r WHERE r.target IS NOT NULL
), due AS MATERIALIZED (
    SELECT d.id
    FROM (SELECT r.target, coalesce(busy.room, $5::integer) AS room
          FROM receivers r LEFT JOIN unnest($3::text[], $4::integer[]) AS busy (target, room) ON busy.target = r.target
          WHERE r.target IS NOT NULL
          ORDER BY 2 DESC, random()) r
    CROSS JOIN LATERAL (
        SELECT d.id FROM deliveries d
        WHERE d.target = r.target AND d.next_at <= now() AND (d.leased_until IS NULL OR d.leased_until <= now())
        ORDER BY d.next_at LIMIT r.room FOR UPDATE SKIP LOCKED) d
    LIMIT $2
)
UPDATE deliveries d
SET leased_until = now() + make_interval(secs => $1::double precision), tries = d.tries + 1, tried_since = coalesce(d.tried_since, now())
WHERE d.id = ANY (ARRAY(SELECT id FROM due))
RETURNING d.id, d.tenant_id, d.run_id, d.url, d.target, d.event, d.payload, d.tries, d.leased_until,
          coalesce(d.secret, (SELECT w.secret FROM webhooks w WHERE w.id = d.webhook_id)) AS secret,
          extract(epoch FROM now() - d.tried_since)::double precision AS tried_for_s
