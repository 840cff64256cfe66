-- For how long the oldest delivery has been due, in seconds; null: none is.
SELECT extract(epoch FROM now() - min(next_at))::double precision AS overdue_s FROM deliveries
WHERE next_at IS NOT NULL AND next_at <= now() AND (leased_until IS NULL OR leased_until <= now())
