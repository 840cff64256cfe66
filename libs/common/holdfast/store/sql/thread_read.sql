-- One thread of a tenant. $1 tenant, $2 id
SELECT id, metadata, created_at, seq FROM threads WHERE tenant_id = $1 AND id = $2
