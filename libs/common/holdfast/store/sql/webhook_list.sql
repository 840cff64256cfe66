-- A tenant's webhooks, oldest first, without their secrets. $1 tenant
SELECT id, url, events, description, created_at FROM webhooks WHERE tenant_id = $1 ORDER BY id
