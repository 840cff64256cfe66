-- What the record says of the runs that a gateway follows: one query for all, one look by its id for each, whenever it was planned. $1 ids
SELECT r.id, r.status, r.attempt, r.terminal_event_id, r.output, r.error, r.run_owner_pod, run_keep_through(r.id) AS keep_through
FROM unnest($1::uuid[]) AS w (id) CROSS JOIN LATERAL (SELECT * FROM runs WHERE runs.id = w.id LIMIT 1) r
