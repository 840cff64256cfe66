-- Submit, within the transaction that holds the thread's lock. Its place is counted up to 1,000. With $9 the run goes before all that are queued and not begun.
-- $1 tenant, $2 thread, $3 agent, $4 pool, $5 input, $6 metadata, $7 run id, $8 max crashes, $9 first,
-- $10 on owner lost, $11 on unknown, $12 idle timeout in seconds, $13 deadline in seconds, $14 webhook
INSERT INTO runs (tenant_id, thread_id, agent, pool, input, metadata, id, max_crashes, on_owner_lost, on_unknown, idle_timeout_s, webhook,
                  deadline_at, queue_rank)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8, $10, $11, $12, $14::jsonb,
        now() + make_interval(secs => $13::double precision),
        CASE WHEN $9 THEN coalesce((SELECT min(queue_rank) - 1 FROM runs q WHERE q.tenant_id = $1 AND q.thread_id = $2
                                    AND q.status = 'queued' AND q.claimed_at IS NULL), nextval('run_queue_rank'))
             ELSE nextval('run_queue_rank') END)
RETURNING *, (SELECT count(*) FROM (SELECT FROM runs q WHERE q.tenant_id = $1 AND q.thread_id = $2 AND q.status = 'queued'
                                    LIMIT 1000) ahead)
           + (SELECT count(*) FROM runs a WHERE a.tenant_id = $1 AND a.thread_id = $2
              AND a.status IN ('running', 'waiting')) AS position
