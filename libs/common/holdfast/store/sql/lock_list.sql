-- Which of these advisory locks are held? A bigint lock is shown as (classid, objid) with objsubid 1. $1 keys
SELECT k FROM unnest($1::bigint[]) AS k
WHERE EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = (k >> 32) & 4294967295 AND l.objid::bigint = k & 4294967295)
