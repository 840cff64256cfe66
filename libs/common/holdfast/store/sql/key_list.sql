-- A tenant's keys, oldest first, revoked ones too. $1 tenant
SELECT id, tenant_id, name, prefix, operator, created_at, revoked_at FROM api_keys WHERE tenant_id = $1 ORDER BY id
