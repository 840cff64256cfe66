-- A runner's agents; sent again while it lives. $1 pod, $2 boot, $3 pool, $4 names, $5 versions, $6 descriptions, $7 input schemas
INSERT INTO agents (pod, boot, pool, name, version, description, input_schema)
SELECT $1, $2, $3, name, version, description, schema::jsonb
FROM unnest($4::text[], $5::text[], $6::text[], $7::text[]) AS a (name, version, description, schema)
ON CONFLICT (pod, name) DO UPDATE
SET boot = excluded.boot, pool = excluded.pool, version = excluded.version, description = excluded.description,
    input_schema = excluded.input_schema, seen_at = now()
