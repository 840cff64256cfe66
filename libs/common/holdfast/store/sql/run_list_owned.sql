-- The runs that the record gives to one boot, with the cancels that it may have missed.
SELECT id, attempt, cancel_requested_at IS NOT NULL AS cancel_requested
FROM runs WHERE status = 'running' AND run_owner_pod = $1 AND run_owner_boot = $2
ORDER BY id LIMIT $3
