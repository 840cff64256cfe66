-- What was said on the thread before a run: the newest $5 messages before its own first one, oldest first, so that a replay sees what the
-- first attempt saw. A fork sees what its original saw, up to $4, and a copy that was made for it; and an answer that a fork on the
-- thread has replaced is left out. $1 tenant, $2 thread, $3 run
SELECT role, parts, status FROM (
    SELECT m.seq, m.role, m.parts, m.status FROM messages m
    WHERE m.tenant_id = $1 AND m.thread_id = $2 AND (m.run_id <> $3 OR m.copied)
      AND m.seq <= coalesce($4::bigint, (SELECT min(own.seq) - 1 FROM messages own WHERE own.run_id = $3 AND NOT own.copied), 9223372036854775807)
      AND NOT (m.role = 'assistant' AND NOT m.copied
               AND (SELECT r.id FROM runs r WHERE r.forked_from = m.run_id AND r.tenant_id = $1 AND r.thread_id = $2
                    AND r.claimed_at IS NOT NULL LIMIT 1) IS NOT NULL)  -- not EXISTS, for which all runs of the thread are read
    ORDER BY m.seq DESC LIMIT $5
) newest ORDER BY seq
