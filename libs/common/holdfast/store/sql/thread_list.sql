-- Threads, newest first. The range is named by rows, so that no other index will do. $1 tenant, $2 before this seq, $3 at most
SELECT id, metadata, created_at, seq FROM threads
WHERE (tenant_id, seq) < ($1, $2::bigint) AND (tenant_id, seq) > ($1, 0) ORDER BY tenant_id DESC, seq DESC LIMIT $3
