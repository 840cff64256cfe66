-- What was said on the thread before a run: the newest $4 messages of other runs, oldest first. $1 tenant, $2 thread, $3 run
SELECT role, parts, status FROM (
    SELECT seq, role, parts, status FROM messages
    WHERE tenant_id = $1 AND thread_id = $2 AND run_id <> $3 ORDER BY seq DESC LIMIT $4
) newest ORDER BY seq
