-- The place of a queued run on its thread, 1 with nothing before it: the runs of the queue that are ahead, and the one that runs or
-- waits. Of a long queue 1,000 are counted: a submit must not cost more the longer it is. Many at once: $1 runs. The LIMIT is for the planner (see `submit`).
SELECT w.n, 1 + (SELECT count(*) FROM (SELECT FROM runs q WHERE q.tenant_id = r.tenant_id AND q.thread_id = r.thread_id
                                       AND q.status = 'queued' AND q.queue_rank < r.queue_rank LIMIT 1000) ahead)
              + (SELECT count(*) FROM runs a WHERE a.tenant_id = r.tenant_id AND a.thread_id = r.thread_id
                 AND a.status IN ('running', 'waiting') AND a.id <> r.id) AS position
FROM (SELECT * FROM unnest($1::uuid[]) WITH ORDINALITY AS w (id, n) LIMIT cardinality($1)) w
JOIN runs r ON r.id = w.id
