-- Make a thread; no row when it is there already. $1 tenant, $2 id, $3 metadata
INSERT INTO threads (tenant_id, id, metadata) VALUES ($1, $2, $3::jsonb)
ON CONFLICT (tenant_id, id) DO NOTHING RETURNING id, metadata, created_at, seq
