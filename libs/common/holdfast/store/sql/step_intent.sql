-- An intent, before the work of each try. Fenced by locking the run's row, so that it cannot interleave with a reclaim.
-- It never overwrites a finished step (a lost write may land late), and repeating it for the same try changes nothing more.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 position, $6 kind, $7 name, $8 input hash, $9 try
WITH owned AS (
    SELECT id FROM runs
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
    FOR NO KEY UPDATE
)
INSERT INTO steps AS s (run_id, position, kind, name, input_hash, status, tries, attempt)
SELECT id, $5, $6, $7, $8, 'started', $9, $4 FROM owned
ON CONFLICT (run_id, position) DO UPDATE
SET tries = excluded.tries, attempt = excluded.attempt, started_at = now(), error = NULL
WHERE s.status = 'started' AND s.kind = excluded.kind AND s.name = excluded.name AND s.input_hash = excluded.input_hash
  AND (s.attempt < excluded.attempt OR s.attempt = excluded.attempt AND s.tries <= excluded.tries)
RETURNING s.tries
