-- Store a key's hash; no row when the same key is there already, so that a first boot of ten gateways makes it once.
-- $1 tenant, $2 name, $3 prefix, $4 hash, $5 operator
INSERT INTO api_keys (tenant_id, name, prefix, key_hash, operator) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key_hash) DO NOTHING RETURNING id, tenant_id, name, prefix, operator, created_at, revoked_at
