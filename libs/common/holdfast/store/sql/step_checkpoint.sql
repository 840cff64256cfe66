-- Results of steps. Fenced by locking the run's row in the same statement; progress resets the crash count, and a result that is
-- refused is none. Repeating one after a lost answer matches its own row again, and adds nothing twice.
-- Arrays, an element for each call: $1 runs, $2 pods, $3 boots, $4 attempts, $5 positions, $6 statuses, $7 outputs, $8 errors,
-- $9 shown texts, $10 last event ids, $11 finish ids, $12 emits, $13 recorded, $14 the failures of the last tries; JSON as text
-- The LIMIT is for the planner: a number that it does not know counts as few, and the plan is kept (see submit.sql).
-- `status || ''`: by its id, and not by a partial index, which a plan that was made while nothing ran would read as a whole.
WITH owned AS (
    SELECT c.*
    FROM (SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                             $11::text[], $12::text[], $13::text[], $14::text[]) WITH ORDINALITY
                       AS c (run_id, pod, boot, attempt, position, status, output, error, shown_text, last_event_id, finish_id, emits, recorded, failure, n)
          LIMIT cardinality($1)) c
    JOIN runs r ON r.id = c.run_id
    WHERE r.run_owner_pod = c.pod AND r.run_owner_boot = c.boot AND r.attempt = c.attempt AND r.status || '' = 'running'
    ORDER BY r.id FOR NO KEY UPDATE OF r
), done AS (
    UPDATE steps s
    SET status = o.status, output = o.output::jsonb, error = o.error::jsonb, shown_text = o.shown_text, last_event_id = o.last_event_id,
        finish_id = o.finish_id, emits = o.emits::jsonb, finished_at = now(),
        recorded = CASE s.status WHEN 'started' THEN s.recorded || o.recorded::jsonb ELSE s.recorded END,
        errors = CASE WHEN s.status = 'started' AND o.failure IS NOT NULL
                      THEN s.errors || jsonb_build_array(jsonb_build_object('at', now()) || o.failure::jsonb) ELSE s.errors END
    FROM owned o
    WHERE s.run_id = o.run_id AND s.position = o.position AND s.attempt = o.attempt
      AND (s.status = 'started' OR s.status = o.status AND s.told AND s.finish_id IS NOT DISTINCT FROM o.finish_id)
    RETURNING o.n, s.run_id
), moved AS (
    UPDATE runs r SET last_progress_at = now(), crashes = 0 FROM (SELECT DISTINCT run_id FROM done) d WHERE r.id = d.run_id
)
SELECT n FROM done
