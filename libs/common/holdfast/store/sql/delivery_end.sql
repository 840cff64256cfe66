-- What came of a try. Fenced by its lease: no row when that had run out and somebody else has the delivery, or when it was removed or
-- is to be sent anew meanwhile. $1 delivery, $2 lease, $3 status, $4 error, $5 delivered, $6 seconds to the next try (null: none)
UPDATE deliveries
SET leased_until = NULL, last_status = $3, last_error = $4,
    delivered_at = CASE WHEN $5::boolean THEN now() END,
    gave_up_at = CASE WHEN NOT $5::boolean AND $6::double precision IS NULL THEN now() END,
    next_at = CASE WHEN NOT $5::boolean THEN now() + make_interval(secs => $6::double precision) END
WHERE id = $1 AND leased_until = $2 AND next_at IS NOT NULL
RETURNING id
