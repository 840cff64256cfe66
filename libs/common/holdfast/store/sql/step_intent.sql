-- An intent, before the work of each try. Fenced by locking the run's row, so that it cannot interleave with a reclaim.
-- It never overwrites a finished step (a lost write may land late), and repeating it for the same try changes nothing more.
-- A question about an earlier try's outcome is settled by it: an answer that comes too late must not finish a try that is at work.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 position, $6 kind, $7 name, $8 input hash, $9 try, $10 call id, $11 input, $12 code version,
-- $13 timeout in seconds, $14 recorded, $15 the failure of the try before
WITH owned AS (
    SELECT id FROM runs
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
    FOR NO KEY UPDATE
), settled AS (
    UPDATE waits w SET done_at = now() FROM owned o
    WHERE w.run_id = o.id AND w.position = $5 AND w.kind = 'unknown' AND w.done_at IS NULL
), failure AS (
    SELECT CASE WHEN $15::jsonb IS NULL THEN '[]' ELSE jsonb_build_array(jsonb_build_object('at', now()) || $15::jsonb) END AS listed
)
INSERT INTO steps AS s (run_id, position, kind, name, input_hash, status, tries, attempt, call_id, input, code_version, timeout_s,
                        recorded, errors)
SELECT id, $5, $6, $7, $8, 'started', $9, $4, $10, $11::jsonb, $12, $13, $14::jsonb, f.listed FROM owned, failure f
ON CONFLICT (run_id, position) DO UPDATE
SET status = 'started', tries = excluded.tries, attempt = excluded.attempt, started_at = now(), error = NULL,
    call_id = excluded.call_id, input = excluded.input, code_version = excluded.code_version, timeout_s = excluded.timeout_s,
    recorded = CASE WHEN (s.attempt, s.tries) = (excluded.attempt, excluded.tries) THEN s.recorded
                    ELSE s.recorded || excluded.recorded END,
    errors = CASE WHEN (s.attempt, s.tries) = (excluded.attempt, excluded.tries) THEN s.errors ELSE s.errors || excluded.errors END
WHERE s.status IN ('started', 'retry')
  AND s.kind = excluded.kind AND s.name = excluded.name AND s.input_hash = excluded.input_hash
  AND (s.attempt < excluded.attempt OR s.attempt = excluded.attempt AND s.tries <= excluded.tries)
RETURNING s.tries
