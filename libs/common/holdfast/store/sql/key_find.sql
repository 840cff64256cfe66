-- Whose key is this? $1 hash
SELECT id, tenant_id, operator FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL
