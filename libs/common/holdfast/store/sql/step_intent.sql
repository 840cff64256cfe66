-- Intents, each before the work of a try. Fenced by locking the run's row, so that none can interleave with a reclaim.
-- One never overwrites a finished step (a lost write may land late), and repeating it for the same try changes nothing more.
-- A question about an earlier try's outcome is settled by it: an answer that comes too late must not finish a try that is at work.
-- Arrays, an element for each call: $1 runs, $2 pods, $3 boots, $4 attempts, $5 positions, $6 kinds, $7 names, $8 input hashes, $9 tries,
-- $10 call ids, $11 inputs, $12 code versions, $13 timeouts in seconds, $14 recorded, $15 the failures of the tries before; JSON as text
-- The LIMIT is for the planner: a number that it does not know counts as few, and the plan is kept (see submit.sql).
-- `status || ''`: by its id, and not by a partial index, which a plan that was made while nothing ran would read as a whole.
WITH owned AS (
    SELECT c.*
    FROM (SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::integer[],
                             $10::text[], $11::text[], $12::text[], $13::real[], $14::text[], $15::text[]) WITH ORDINALITY
                       AS c (run_id, pod, boot, attempt, position, kind, name, input_hash, tries, call_id, input, code_version, timeout_s, recorded,
                             failure, n)
          LIMIT cardinality($1)) c
    JOIN runs r ON r.id = c.run_id
    WHERE r.run_owner_pod = c.pod AND r.run_owner_boot = c.boot AND r.attempt = c.attempt AND r.status || '' = 'running'
    ORDER BY r.id FOR NO KEY UPDATE OF r
), settled AS (
    UPDATE waits w SET done_at = now() FROM owned o
    WHERE w.run_id = o.run_id AND w.position = o.position AND w.kind = 'unknown' AND w.done_at IS NULL
), begun AS (
    INSERT INTO steps AS s (run_id, position, kind, name, input_hash, status, tries, attempt, call_id, input, code_version, timeout_s,
                            recorded, errors)
    SELECT run_id, position, kind, name, input_hash, 'started', tries, attempt, call_id, input::jsonb, code_version, timeout_s,
           recorded::jsonb,
           CASE WHEN failure IS NULL THEN '[]' ELSE jsonb_build_array(jsonb_build_object('at', now()) || failure::jsonb) END
    FROM owned
    ON CONFLICT (run_id, position) DO UPDATE
    SET status = 'started', tries = excluded.tries, attempt = excluded.attempt, started_at = now(), error = NULL,
        call_id = excluded.call_id, input = excluded.input, code_version = excluded.code_version, timeout_s = excluded.timeout_s,
        recorded = CASE WHEN (s.attempt, s.tries) = (excluded.attempt, excluded.tries) THEN s.recorded
                        ELSE s.recorded || excluded.recorded END,
        errors = CASE WHEN (s.attempt, s.tries) = (excluded.attempt, excluded.tries) THEN s.errors ELSE s.errors || excluded.errors END
    WHERE s.status IN ('started', 'retry')
      AND s.kind = excluded.kind AND s.name = excluded.name AND s.input_hash = excluded.input_hash
      AND (s.attempt < excluded.attempt OR s.attempt = excluded.attempt AND s.tries <= excluded.tries)
    RETURNING s.run_id, s.position
)
SELECT o.n FROM owned o JOIN begun b ON b.run_id = o.run_id AND b.position = o.position
