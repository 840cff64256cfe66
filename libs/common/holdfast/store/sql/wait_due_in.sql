-- Seconds until the time of the next waiting run comes.
SELECT extract(epoch FROM greatest(min(w.wake_at), now()) - now())::double precision AS seconds
FROM waits w JOIN runs r ON r.id = w.run_id
WHERE w.done_at IS NULL AND w.wake_at IS NOT NULL AND w.suspended AND r.status = 'waiting'
HAVING count(*) > 0
