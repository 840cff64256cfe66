-- Delete threads that are over, with everything of them, within the transaction that has locked them: this statement sees every run that
-- was submitted before. Of a thread with more runs than the bound the oldest go first, and the thread with the last of them. Runs go as
-- long as those before them have fewer steps than the other bound: a step is what takes the time.
-- A run whose parent is active stays: an attempt of that one would find no child, and start it once more.
-- $1 tenants, $2 threads, $3 kept for so many seconds, $4 at most so many runs, $5 at most so many steps, and those of one run
WITH over AS MATERIALIZED (
    SELECT w.tenant_id, w.id FROM unnest($1::text[], $2::text[]) AS w (tenant_id, id)
    WHERE NOT EXISTS (SELECT FROM runs r WHERE r.tenant_id = w.tenant_id AND r.thread_id = w.id
                      AND (r.finished_at IS NULL OR r.finished_at >= now() - make_interval(secs => $3::double precision)
                           OR r.parent_run_id IS NOT NULL AND (SELECT p.finished_at IS NULL FROM runs p WHERE p.id = r.parent_run_id)))
), doomed AS MATERIALIZED (
    SELECT id FROM (
        SELECT r.id, sum(size.steps) OVER (ORDER BY r.tenant_id, r.thread_id, r.id) - size.steps AS steps_before
        FROM (SELECT r.tenant_id, r.thread_id, r.id FROM over o CROSS JOIN LATERAL (
                  SELECT tenant_id, thread_id, id FROM runs WHERE tenant_id = o.tenant_id AND thread_id = o.id ORDER BY id LIMIT $4) r
              LIMIT $4) r
        CROSS JOIN LATERAL (SELECT count(*) AS steps FROM steps WHERE run_id = r.id) size) r
    WHERE steps_before < $5
), keys AS (
    DELETE FROM idempotency_keys k USING doomed d WHERE k.run_id = d.id
), gone_waits AS (
    DELETE FROM waits w USING doomed d WHERE w.run_id = d.id
), gone_steps AS (
    DELETE FROM steps s USING doomed d WHERE s.run_id = d.id
), gone_attempts AS (
    DELETE FROM attempts a USING doomed d WHERE a.run_id = d.id
), gone_messages AS (
    DELETE FROM messages m USING doomed d WHERE m.run_id = d.id
), gone_runs AS (
    DELETE FROM runs r USING doomed d WHERE r.id = d.id
), gone_threads AS (
    DELETE FROM threads t USING over o
    WHERE t.tenant_id = o.tenant_id AND t.id = o.id
      AND NOT EXISTS (SELECT FROM runs r WHERE r.tenant_id = o.tenant_id AND r.thread_id = o.id AND r.id NOT IN (SELECT id FROM doomed))
    RETURNING t.id
)
SELECT (SELECT count(*) FROM gone_threads) AS threads, (SELECT count(*) FROM doomed) AS runs,
       (SELECT count(*) FROM gone_threads) < (SELECT count(*) FROM over) AS more
