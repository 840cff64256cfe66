-- Lock threads that are to be forgotten: a submit to one of them waits until it is gone. Those that somebody has at hand are in use, and
-- left out. $1 tenants, $2 threads
SELECT t.tenant_id, t.id
FROM threads t JOIN unnest($1::text[], $2::text[]) AS w (tenant_id, id) ON t.tenant_id = w.tenant_id AND t.id = w.id
ORDER BY t.tenant_id, t.id FOR UPDATE OF t SKIP LOCKED
