-- Seconds until the time of the next waiting run comes. The earliest is read, not all.
SELECT extract(epoch FROM greatest(w.wake_at, now()) - now())::double precision AS seconds
FROM waits w JOIN runs r ON r.id = w.run_id
WHERE w.done_at IS NULL AND w.wake_at IS NOT NULL AND w.suspended AND r.status = 'waiting'
ORDER BY w.wake_at LIMIT 1
