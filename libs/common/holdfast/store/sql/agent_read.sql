-- The newest word of the runners on an agent, from the last day. $1 name
SELECT name, pod, boot, pool, version, description, input_schema, seen_at FROM agents
WHERE name = $1 AND seen_at > now() - interval '1 day' ORDER BY seen_at DESC LIMIT 1
