-- A step's result. Fenced by locking the run's row in the same statement; progress resets the crash count, and a result that is
-- refused is none. Repeating it after a lost answer matches its own row again, and adds nothing twice.
-- $1 run, $2 pod, $3 boot, $4 attempt, $5 position, $6 status, $7 output, $8 error, $9 shown text, $10 last event id, $11 finish id,
-- $12 emits, $13 recorded, $14 the failure of the last try
WITH owned AS (
    SELECT id FROM runs
    WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
    FOR NO KEY UPDATE
), done AS (
    UPDATE steps s
    SET status = $6, output = $7::jsonb, error = $8::jsonb, shown_text = $9, last_event_id = $10, finish_id = $11, emits = $12::jsonb,
        finished_at = now(),
        recorded = CASE s.status WHEN 'started' THEN s.recorded || $13::jsonb ELSE s.recorded END,
        errors = CASE WHEN s.status = 'started' AND $14::jsonb IS NOT NULL
                      THEN s.errors || jsonb_build_array(jsonb_build_object('at', now()) || $14::jsonb) ELSE s.errors END
    FROM owned o
    WHERE s.run_id = o.id AND s.position = $5 AND s.attempt = $4
      AND (s.status = 'started' OR s.status = $6 AND s.told AND s.finish_id IS NOT DISTINCT FROM $11)
    RETURNING s.run_id, s.position
)
UPDATE runs r SET last_progress_at = now(), crashes = 0 FROM done d WHERE r.id = d.run_id RETURNING d.position
