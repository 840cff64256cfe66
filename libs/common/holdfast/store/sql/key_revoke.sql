-- Revoke a key, once: the first time stays. $1 tenant, $2 key id
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2 RETURNING id, revoked_at
