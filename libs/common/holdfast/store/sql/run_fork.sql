-- A run from another one, at the end of its thread's queue, within the transaction that holds the thread's and the original's locks. On
-- the same thread it sees what the original saw: the messages before that one's own. $1 tenant, $2 original, $3 new id, $4 thread
INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input, metadata, max_crashes, on_owner_lost, on_unknown, idle_timeout_s,
                  forked_from, history_until)
SELECT $3, o.tenant_id, $4::text, o.agent, o.pool, o.input, o.metadata, o.max_crashes, o.on_owner_lost, o.on_unknown, o.idle_timeout_s, o.id,
       CASE WHEN o.thread_id = $4::text
            THEN coalesce(o.history_until, (SELECT min(m.seq) - 1 FROM messages m WHERE m.run_id = o.id AND NOT m.copied)) END
FROM runs o WHERE o.tenant_id = $1 AND o.id = $2
RETURNING *
