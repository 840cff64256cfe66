-- Delete a thread whose runs have all ended, with everything of them; no row while one is active. The thread is locked by the caller.
-- $1 tenant, $2 thread
WITH quiet AS MATERIALIZED (
    SELECT 1 AS yes
    WHERE NOT EXISTS (SELECT FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status IN ('running', 'waiting'))
      AND NOT EXISTS (SELECT FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status = 'queued')
      AND NOT EXISTS (SELECT FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND status = 'interrupted')
), doomed AS MATERIALIZED (
    SELECT id FROM runs CROSS JOIN quiet WHERE tenant_id = $1 AND thread_id = $2
), keys AS (
    DELETE FROM idempotency_keys k USING doomed d WHERE k.run_id = d.id
), gone_waits AS (
    DELETE FROM waits w USING doomed d WHERE w.run_id = d.id
), gone_steps AS (
    DELETE FROM steps s USING doomed d WHERE s.run_id = d.id
), gone_attempts AS (
    DELETE FROM attempts a USING doomed d WHERE a.run_id = d.id
), gone_messages AS (
    DELETE FROM messages m USING quiet WHERE m.tenant_id = $1 AND m.thread_id = $2
), gone_runs AS (
    DELETE FROM runs r USING quiet WHERE r.tenant_id = $1 AND r.thread_id = $2
)
DELETE FROM threads t USING quiet WHERE t.tenant_id = $1 AND t.id = $2 RETURNING t.id
