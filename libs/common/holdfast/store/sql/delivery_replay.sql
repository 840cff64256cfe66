-- Have a delivery sent again, at once and with a day of tries before it; no row for one that is being sent at this moment.
-- $1 tenant, $2 delivery
UPDATE deliveries
SET next_at = now(), tries = 0, tried_since = NULL, leased_until = NULL, delivered_at = NULL, gave_up_at = NULL,
    last_status = NULL, last_error = NULL
WHERE tenant_id = $1 AND id = $2 AND (leased_until IS NULL OR leased_until <= now())
RETURNING *
