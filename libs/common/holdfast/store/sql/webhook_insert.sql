-- Add a webhook; no row when the tenant has as many as it may. Two at once may get past that by one, which does no harm.
-- $1 tenant, $2 url, $3 events, $4 description, $5 secret, $6 at most
INSERT INTO webhooks (tenant_id, url, events, description, secret)
SELECT $1::text, $2, $3::text[], $4, $5 WHERE (SELECT count(*) FROM webhooks WHERE tenant_id = $1::text) < $6
RETURNING id, url, events, description, created_at
