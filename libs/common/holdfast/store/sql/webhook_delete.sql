-- Remove a webhook; what was still to be sent to it is given up in the same statement. A change that commits at this moment may have
-- seen the webhook still: who claims its delivery finds no secret, and gives it up. $1 tenant, $2 webhook
WITH gone AS (
    DELETE FROM webhooks WHERE tenant_id = $1 AND id = $2 RETURNING id
), left_over AS (
    UPDATE deliveries d SET next_at = NULL, leased_until = NULL, gave_up_at = now(), last_error = 'the webhook was removed'
    FROM gone WHERE d.tenant_id = $1 AND d.webhook_id = gone.id AND d.delivered_at IS NULL AND d.next_at IS NOT NULL
)
SELECT id FROM gone
