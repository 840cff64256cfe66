-- The active child runs of one run, those whose cancel was asked for left out. $1 run
SELECT tenant_id, id FROM runs
WHERE parent_run_id = $1 AND status IN ('queued', 'running', 'waiting', 'interrupted') AND cancel_requested_at IS NULL
ORDER BY id
