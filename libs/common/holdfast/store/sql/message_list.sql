-- A thread's transcript, a page of it. $1 tenant, $2 thread, $3 after this seq, $4 at most
SELECT id, run_id, seq, role, parts, status, created_at FROM messages
WHERE tenant_id = $1 AND thread_id = $2 AND seq > $3 ORDER BY seq LIMIT $4
