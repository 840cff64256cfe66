-- Journal what a run is about to wait for: the step, the wait and, for a child, its thread and its run, all or none. Fenced by locking
-- the run's row, so that a dead owner's child is not started behind the back of the new one. Repeated after a lost answer, or by the
-- replay of a later attempt, it finds the wait as it was: the time does not move, the child is started once.
-- The outcome of an `unknown` step is asked for under the step that is there.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 wait, $6 position, $7 kind, $8 name, $9 input hash, $10 code version, $11 question, $12 schema,
-- $13 seconds, $14 recorded; of a child: $15 run, $16 agent, $17 pool, $18 input, $19 metadata; $20 how its try failed (null: it did not)
WITH owned AS (
    SELECT id, tenant_id FROM runs
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
    FOR NO KEY UPDATE
), step AS (
    INSERT INTO steps AS s (run_id, position, kind, name, input_hash, status, attempt, code_version, input)
    SELECT id, $6, $7::text, $8, $9, 'started', $4, $10, $11::jsonb FROM owned WHERE $7::text <> 'unknown'
    ON CONFLICT (run_id, position) DO UPDATE SET attempt = excluded.attempt
    WHERE s.status = 'started' AND s.attempt < excluded.attempt
      AND s.kind = excluded.kind AND s.name = excluded.name AND s.input_hash = excluded.input_hash
), tried AS (
    UPDATE steps s SET errors = s.errors || jsonb_build_array($20::jsonb || jsonb_build_object('at', now()))
    FROM owned o
    WHERE s.run_id = o.id AND s.position = $6 AND s.status = 'started' AND $7::text = 'unknown' AND $20::jsonb IS NOT NULL
      AND NOT EXISTS (SELECT FROM waits w WHERE w.id = $5)
), thread AS (
    INSERT INTO threads (tenant_id, id, metadata)
    SELECT tenant_id, 'child-' || $15::uuid, jsonb_build_object('parent_run_id', id) FROM owned WHERE $15::uuid IS NOT NULL
    ON CONFLICT (tenant_id, id) DO NOTHING
), child AS (
    INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input, metadata, parent_run_id, parent_position)
    SELECT $15::uuid, tenant_id, 'child-' || $15::uuid, $16::text, $17::text, coalesce($18::jsonb, 'null'), coalesce($19::jsonb, '{}'),
           id, $6
    FROM owned WHERE $15::uuid IS NOT NULL
    ON CONFLICT (id) DO NOTHING
)
INSERT INTO waits AS w (id, run_id, position, kind, question, schema, wake_at, child_run_id, recorded)
SELECT $5, id, $6, $7::text, $11::jsonb, $12::jsonb, now() + make_interval(secs => $13::double precision), $15::uuid, $14::jsonb FROM owned
ON CONFLICT (id) DO UPDATE SET recorded = w.recorded || excluded.recorded WHERE w.run_id = excluded.run_id
RETURNING id, run_id, position, kind, question, schema, wake_at, child_run_id, opened_at, suspended, done_at, answer, recorded
