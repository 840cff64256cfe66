-- Queue an interrupted run again, at its old place. Guarded by its status: a claim of a later run of the thread may give it up at the
-- same time; the first to lock the row wins, and the other matches nothing. $1 tenant, $2 run
UPDATE runs
SET status = 'queued', crashes = 0, error = NULL, terminal_event_id = NULL, requeued_why = 'resumed', queued_at = now()
WHERE tenant_id = $1 AND id = $2 AND status = 'interrupted'
RETURNING *
