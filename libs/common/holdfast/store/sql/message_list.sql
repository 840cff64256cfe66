-- A thread's transcript, a page of it. An answer whose run was forked on the thread is replaced by the newest fork that has begun.
-- $1 tenant, $2 thread, $3 after this seq, $4 at most
SELECT m.id, m.run_id, m.seq, m.role, m.parts, m.status, m.created_at,
       CASE WHEN m.role = 'assistant' AND NOT m.copied THEN (
           SELECT f.id FROM runs f WHERE f.forked_from = m.run_id AND f.tenant_id = $1 AND f.thread_id = $2 AND f.claimed_at IS NOT NULL
           ORDER BY f.claimed_at DESC LIMIT 1) END AS replaced_by
FROM messages m
WHERE m.tenant_id = $1 AND m.thread_id = $2 AND m.seq > $3 ORDER BY m.seq LIMIT $4
