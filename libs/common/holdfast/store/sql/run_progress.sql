-- Events flow: the owner moves last_progress_at. Fenced.
UPDATE runs SET last_progress_at = now()
WHERE id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'
RETURNING attempt
