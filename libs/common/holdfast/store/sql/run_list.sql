-- Runs, newest first. $1 tenant, $2 before this id (null: from the newest), $3 status, $4 thread, $5 agent (null: any), $6 at most
SELECT * FROM runs
WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3::text[] IS NULL OR status = ANY ($3))
  AND ($4::text IS NULL OR thread_id = $4) AND ($5::text IS NULL OR agent = $5)
ORDER BY id DESC LIMIT $6
