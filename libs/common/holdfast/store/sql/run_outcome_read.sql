-- What became of a run, and how an attempt of it ended: read after an end, a suspend or a release whose answer was lost.
-- $1 run, $2 pod, $3 boot, $4 attempt
SELECT r.status, r.terminal_event_id, r.output, r.error, r.pool, r.parent_run_id,
       (SELECT a.ended_why FROM attempts a WHERE a.run_id = r.id AND a.pod = $2 AND a.boot = $3 AND a.attempt = $4) AS attempt_ended_why
FROM runs r WHERE r.id = $1
