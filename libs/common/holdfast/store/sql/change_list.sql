-- The changes of some tenants' runs, each tenant's after its own place, in order, as far as they are complete: below the oldest
-- transaction that is still open, since that one may yet write a change. One snapshot tells how far that is (`horizon`), which
-- number is the next (`next`), up to where changes were forgotten, and whether there is one that has to wait.
-- $1 tenants, $2 and $3 the places of each: xid as text, and id, $4 at most so many of each tenant
SELECT pg_snapshot_xmin(seen.now)::text AS horizon, pg_snapshot_xmax(seen.now)::text AS next,
       forgotten.xid::text AS forgotten_xid, forgotten.id AS forgotten_id, coalesce(newest.xid >= pg_snapshot_xmin(seen.now), false) AS held_back,
       c.xid::text AS xid, c.id, c.tenant_id, c.run_id, c.thread_id, c.agent, c.status, c.attempt, c.cancelling, c.at
FROM (SELECT pg_current_snapshot() AS now) seen
CROSS JOIN changes_forgotten forgotten
LEFT JOIN (SELECT xid FROM changes ORDER BY id DESC LIMIT 1) newest ON true
LEFT JOIN LATERAL (
    SELECT m.*
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS place (tenant_id, xid, id)
    CROSS JOIN LATERAL (
        SELECT * FROM changes
        WHERE tenant_id = place.tenant_id AND (xid, id) > (place.xid::xid8, place.id) AND xid < pg_snapshot_xmin(seen.now)
        ORDER BY xid, id LIMIT $4
    ) m
) c ON true
ORDER BY c.tenant_id, c.xid, c.id
