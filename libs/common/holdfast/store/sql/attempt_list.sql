-- A run's attempts, in order.
SELECT attempt, pod, boot, code_version, started_at, ended_at, ended_why FROM attempts WHERE run_id = $1 ORDER BY attempt
