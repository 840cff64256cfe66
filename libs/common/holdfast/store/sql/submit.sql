-- Submit many runs, each as if it were alone. A run that comes back was made; one that does not was not, and its caller asks alone
-- (see `submitting`): its key is taken, or its thread is not there, or in somebody's hands at this moment.
-- A thread that is locked is left out and not waited for: one thread must not hold up the submits to all others. What is waited for
-- is taken in one order, keys and then new threads, each sorted; so no two of these statements wait for each other.
-- A thread that somebody has made since this statement began is neither `there` nor `made`. A key that was taken for such a run has
-- no run then, which its foreign key refuses at the commit: nothing was done for any of them, and each asks anew.
-- The order on a thread is the order of ranks: they are given out with the thread locked, in the order of arrival.
-- `position` is the run's place on a thread that was made here: nobody else can have a run there. Null elsewhere, since this
-- statement does not see what others have committed before it had the lock: `run_place` reads it, behind the commit.
-- The LIMIT is for the planner, which takes one that it does not know for few rows. So a plan for any number of runs is cheap
-- enough to be kept, and looks threads up one by one, however many there were when it was made.
-- Arrays, one element a run: $1 id, $2 tenant, $3 thread, $4 make the thread, $5 agent, $6 pool, $7 input, $8 metadata,
-- $9 max crashes, $10 on owner lost, $11 on unknown, $12 idle timeout in seconds, $13 deadline in seconds, $14 webhook,
-- $15 key, $16 fingerprint
WITH wanted AS MATERIALIZED (
    SELECT w.*, coalesce((SELECT true FROM threads t WHERE t.tenant_id = w.tenant_id AND t.id = w.thread_id), false) AS there
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::integer[], $10::text[], $11::text[], $12::integer[], $13::double precision[], $14::text[], $15::text[], $16::bytea[])
        WITH ORDINALITY AS w (id, tenant_id, thread_id, make_thread, agent, pool, input, metadata, max_crashes, on_owner_lost,
                              on_unknown, idle_timeout_s, deadline_s, webhook, key, fingerprint, n)
    LIMIT cardinality($1)
), held AS MATERIALIZED (
    SELECT t.tenant_id, t.id
    FROM (SELECT DISTINCT tenant_id, thread_id FROM wanted WHERE there) w
    CROSS JOIN LATERAL (SELECT tenant_id, id FROM threads t WHERE t.tenant_id = w.tenant_id AND t.id = w.thread_id
                        FOR NO KEY UPDATE SKIP LOCKED) t
), keyed AS (
    INSERT INTO idempotency_keys (tenant_id, key, fingerprint, run_id)
    SELECT tenant_id, key, fingerprint, id FROM wanted
    WHERE key IS NOT NULL AND CASE WHEN there THEN (tenant_id, thread_id) IN (SELECT tenant_id, id FROM held) ELSE make_thread END
    ORDER BY tenant_id, key, n
    ON CONFLICT (tenant_id, key) DO NOTHING
    RETURNING run_id
), made AS (
    INSERT INTO threads (tenant_id, id)
    SELECT DISTINCT tenant_id, thread_id FROM wanted
    WHERE NOT there AND make_thread AND (key IS NULL OR id IN (SELECT run_id FROM keyed))
      AND (SELECT count(*) FROM keyed) >= 0  -- after all keys
    ORDER BY tenant_id, thread_id
    ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING tenant_id, id
), queued AS (
    INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input, metadata, max_crashes, on_owner_lost, on_unknown, idle_timeout_s,
                      deadline_at, webhook)
    SELECT id, tenant_id, thread_id, agent, pool, input::jsonb, metadata::jsonb, max_crashes, on_owner_lost, on_unknown, idle_timeout_s,
           now() + make_interval(secs => deadline_s), webhook::jsonb
    FROM wanted
    WHERE (tenant_id, thread_id) IN (SELECT tenant_id, id FROM made UNION ALL SELECT tenant_id, id FROM held)
      AND (key IS NULL OR id IN (SELECT run_id FROM keyed))
    ORDER BY n
    RETURNING id, created_at, queued_at, deadline_at
)
SELECT w.n, q.created_at, q.queued_at, q.deadline_at,
       CASE WHEN NOT w.there THEN row_number() OVER (PARTITION BY w.tenant_id, w.thread_id ORDER BY w.n) END AS position
FROM queued q JOIN wanted w ON w.id = q.id
