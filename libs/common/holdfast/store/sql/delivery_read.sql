-- One delivery, and whether there is still a secret to sign it with. $1 tenant, $2 delivery
SELECT d.*, d.secret IS NOT NULL OR EXISTS (SELECT FROM webhooks w WHERE w.id = d.webhook_id) AS sendable
FROM deliveries d WHERE d.tenant_id = $1 AND d.id = $2
