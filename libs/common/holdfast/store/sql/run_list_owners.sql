-- Every (pod, boot) that owns a run.
SELECT DISTINCT run_owner_pod AS pod, run_owner_boot AS boot FROM runs WHERE status = 'running'
