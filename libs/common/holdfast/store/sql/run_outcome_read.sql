-- What became of a run, and whether an attempt gave it back: read after an end or a release whose answer was lost.
-- $1 run, $2 pod, $3 boot, $4 attempt
SELECT r.status, r.terminal_event_id, r.output, r.error, r.pool,
       EXISTS (SELECT FROM attempts a WHERE a.run_id = r.id AND a.pod = $2 AND a.boot = $3 AND a.attempt = $4
               AND a.ended_why = 'released') AS released
FROM runs r WHERE r.id = $1
