-- What these runs wait for still, in the order of opening. $1 runs
SELECT id, run_id, position, kind, question, schema, wake_at, child_run_id, opened_at, suspended, done_at, answer, recorded
FROM waits WHERE run_id = ANY ($1::uuid[]) AND done_at IS NULL ORDER BY opened_at, id
