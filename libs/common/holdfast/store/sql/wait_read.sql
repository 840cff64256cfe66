-- One wait of a tenant's run, also when it is over. $1 tenant, $2 run, $3 wait
SELECT w.id, w.run_id, w.position, w.kind, w.question, w.schema, w.wake_at, w.child_run_id, w.opened_at, w.suspended, w.done_at, w.answer, w.recorded
FROM waits w JOIN runs r ON r.id = w.run_id WHERE r.tenant_id = $1 AND r.id = $2 AND w.id = $3
