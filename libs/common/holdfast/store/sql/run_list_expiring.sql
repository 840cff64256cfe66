-- Runs whose deadline has passed, and running ones that have not moved for longer than they may. $1 at most
SELECT id, attempt, run_owner_pod AS pod, run_owner_boot AS boot, 'deadline' AS why
FROM runs WHERE deadline_at <= now() AND status IN ('queued', 'running', 'waiting')
UNION ALL
SELECT id, attempt, run_owner_pod, run_owner_boot, 'stalled'
FROM runs
WHERE status = 'running' AND (deadline_at > now()) IS NOT FALSE AND last_progress_at < now() - make_interval(secs => idle_timeout_s)
  AND last_progress_at < now() - make_interval(secs => run_longest_step(id, attempt))
LIMIT $1
