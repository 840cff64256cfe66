-- For how long the oldest delivery has been due, in seconds; null: none is. Of each receiver the first is read, not all.
WITH RECURSIVE receivers AS (
    (SELECT target FROM deliveries WHERE next_at IS NOT NULL ORDER BY target LIMIT 1)
    UNION ALL
    SELECT (SELECT d.target FROM deliveries d WHERE d.next_at IS NOT NULL AND d.target > r.target ORDER BY d.target LIMIT 1)
    FROM receivers r WHERE r.target IS NOT NULL
)
SELECT extract(epoch FROM now() - min(due.next_at))::double precision AS overdue_s
FROM receivers r
CROSS JOIN LATERAL (SELECT d.next_at FROM deliveries d
                    WHERE d.target = r.target AND d.next_at <= now() AND (d.leased_until IS NULL OR d.leased_until <= now())
                    ORDER BY d.next_at LIMIT 1) due
