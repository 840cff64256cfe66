-- Lock a run's row, so that it stays as it is while it is forked: a resume, or a claim that gives it up, waits. $1 tenant, $2 run
SELECT id, status FROM runs WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE
