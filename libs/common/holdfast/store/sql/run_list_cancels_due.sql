-- Cancels whose owner has not ended the run within the grace. $1 grace in seconds, $2 at most
SELECT id, attempt, run_owner_pod AS pod, run_owner_boot AS boot
FROM runs WHERE status = 'running' AND cancel_requested_at < now() - make_interval(secs => $1)
ORDER BY cancel_requested_at LIMIT $2
