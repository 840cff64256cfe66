-- Threads, newest first. $1 tenant, $2 before this seq, $3 at most
SELECT id, metadata, created_at, seq FROM threads WHERE tenant_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3
