-- Whose key is this? Many at once: $1 hashes. The LIMIT is for the planner (see `submit`).
SELECT w.n, k.tenant_id, k.operator
FROM (SELECT * FROM unnest($1::bytea[]) WITH ORDINALITY AS w (key_hash, n) LIMIT cardinality($1)) w
JOIN api_keys k ON k.key_hash = w.key_hash
WHERE k.revoked_at IS NULL
