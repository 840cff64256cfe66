-- Copy what a run saw of its thread to the thread that was made for its fork. $1 original, $2 fork
INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status, created_at, copied)
SELECT f.tenant_id, f.thread_id, f.id, m.role, m.parts, m.status, m.created_at, true
FROM runs o
JOIN runs f ON f.id = $2
JOIN messages m ON m.tenant_id = o.tenant_id AND m.thread_id = o.thread_id
WHERE o.id = $1 AND (m.run_id <> o.id OR m.copied)
  AND m.seq <= coalesce(o.history_until, (SELECT min(own.seq) - 1 FROM messages own WHERE own.run_id = o.id AND NOT own.copied), m.seq)
  AND NOT (m.role = 'assistant' AND NOT m.copied
           AND EXISTS (SELECT FROM runs r WHERE r.forked_from = m.run_id AND r.tenant_id = m.tenant_id AND r.thread_id = m.thread_id
                       AND r.claimed_at IS NOT NULL))
ORDER BY m.seq
RETURNING seq
