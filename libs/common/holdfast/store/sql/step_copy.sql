-- Copy a run's steps to its fork: the finished ones, and, of all of it, those whose outcome nobody knows, which their policy decides
-- about, within the transaction that holds the original's lock. Their events are of attempt 0, from
-- 0-2 on (0-1 is run.queued), in the order in which they were finished. What a suspended attempt had shown outside of steps goes with
-- the next step that is copied, its counts by scope too, or the replay would show it again. The first copied step has all values that
-- were recorded before that place, since another row than the step that used a value may have carried it.
-- $1 original, $2 fork, $3 the position before which to copy (null: all)
WITH chosen AS (
    SELECT s.*, event_order(coalesce(s.finish_id, s.last_event_id)) AS finished,
           row_number() OVER (ORDER BY event_order(coalesce(s.finish_id, s.last_event_id)), step_order(s.position)) AS k
    FROM steps s
    WHERE s.run_id = $1 AND s.status IN ('completed', 'failed') AND ($3::text IS NULL OR step_order(s.position) < step_order($3::text))
), carried AS (
    SELECT a.attempt, a.shown_text, a.emits,
           (SELECT min(c.k) FROM chosen c WHERE c.finished >= event_order(a.finish_id)) AS k
    FROM attempts a WHERE a.run_id = $1 AND a.ended_why = 'waiting'
), counts AS (
    SELECT k, jsonb_object_agg(scope, shown) AS emits
    FROM (SELECT e.k, n.key AS scope, sum(n.value::numeric) AS shown
          FROM (SELECT k, emits FROM carried UNION ALL SELECT k, emits FROM chosen) e
          CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(e.emits) WHEN 'object' THEN e.emits ELSE '{}' END) AS n
          GROUP BY e.k, n.key) each
    GROUP BY k
), recorded AS (
    SELECT recorded FROM steps WHERE run_id = $1 AND ($3::text IS NULL OR step_order(position) < step_order($3::text))
    UNION ALL
    SELECT recorded FROM waits WHERE run_id = $1 AND ($3::text IS NULL OR step_order(position) < step_order($3::text))
)
INSERT INTO steps (run_id, position, kind, name, input_hash, status, tries, attempt, output, error, shown_text, last_event_id, finish_id,
                   started_at, finished_at, call_id, input, code_version, timeout_s, errors, recorded, emits, told)
SELECT $2::uuid, c.position, c.kind, c.name, c.input_hash, c.status, c.tries, 0, c.output, c.error,
       (SELECT coalesce(string_agg(t.shown_text, '' ORDER BY t.attempt), '') FROM carried t WHERE t.k = c.k) || c.shown_text,
       '0-' || (c.k + 1), '0-' || (c.k + 1), c.started_at, c.finished_at, c.call_id, c.input, c.code_version, c.timeout_s, c.errors,
       CASE WHEN c.k = 1 THEN (SELECT coalesce(jsonb_agg(v.value), '[]') FROM recorded r, jsonb_array_elements(r.recorded) v) ELSE '[]' END,
       n.emits, true
FROM chosen c LEFT JOIN counts n ON n.k = c.k
UNION ALL
SELECT $2::uuid, s.position, s.kind, s.name, s.input_hash, s.status, s.tries, 0, NULL::jsonb, NULL::jsonb, '', NULL, NULL,
       s.started_at, NULL::timestamptz, s.call_id, s.input, s.code_version, s.timeout_s, s.errors, '[]'::jsonb, NULL::jsonb, true
FROM steps s
WHERE s.run_id = $1 AND $3::text IS NULL AND s.status IN ('started', 'retry') AND s.kind NOT IN ('ask', 'sleep', 'child')
RETURNING position
