-- What a run waits for and has waited for, in the order of opening. $1 run
SELECT id, run_id, position, kind, question, schema, wake_at, child_run_id, opened_at, suspended, done_at, answer, recorded
FROM waits WHERE run_id = $1 ORDER BY opened_at, id
