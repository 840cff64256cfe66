-- Every agent that a runner has loaded and said so in the last day, the newest row of a name first.
SELECT name, pod, boot, pool, version, description, input_schema, seen_at FROM agents
WHERE seen_at > now() - interval '1 day' ORDER BY name, seen_at DESC
