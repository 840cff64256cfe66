-- Forget the oldest changes that are older than $1 seconds, and note how far, so that who stood before it is told. $2 looks at so many.
-- One whose number is still to be given out came with a dump from another server: it goes too, and is no mark. A mark of that kind counts
-- for nothing. Of two who do this at once, one passes over what the other has at hand; what they delete is too old for either to be
-- unaware of its number.
WITH next AS (
    SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xid
), oldest AS MATERIALIZED (
    SELECT id FROM changes ORDER BY id LIMIT $2
), due AS MATERIALIZED (
    SELECT c.id FROM changes c CROSS JOIN next
    WHERE c.id = ANY (ARRAY(SELECT id FROM oldest)) AND (c.at < now() - make_interval(secs => $1) OR c.xid >= next.xid)
    FOR UPDATE OF c SKIP LOCKED
), gone AS (
    DELETE FROM changes WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING xid, id
), last AS (
    SELECT g.xid, g.id FROM gone g CROSS JOIN next WHERE g.xid < next.xid ORDER BY g.xid DESC, g.id DESC LIMIT 1
), marked AS (
    UPDATE changes_forgotten f SET xid = last.xid, id = last.id FROM last CROSS JOIN next
    WHERE f.xid >= next.xid OR (f.xid, f.id) < (last.xid, last.id)
)
SELECT count(*) AS forgotten FROM gone
