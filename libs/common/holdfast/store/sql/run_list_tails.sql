-- What the record says of the runs that a gateway follows: one query for all. $1 ids
SELECT id, status, attempt, terminal_event_id, output, error, run_owner_pod, run_keep_through(id) AS keep_through
FROM runs WHERE id = ANY ($1::uuid[])
