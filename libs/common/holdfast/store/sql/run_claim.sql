-- Take queued runs. Races closed: two runners (status and NULL owner), an older run queued on the thread (queue_rank), a run
-- of the thread that is running or waiting (the partial unique index refuses even what this snapshot cannot see).
-- A fork's original has told the user's messages before.
-- An interrupted run of the thread is given up in the same statement, with an attempt of its own for its event.
-- One whose row somebody has locked is left out: who is frozen with a lock must not hold up the claims of a whole pool.
-- `status || ''` and the subqueries: rows are found by their ids and threads. A plan that was made while nothing was queued or ran
-- would read the partial indexes as a whole otherwise, and is kept for minutes.
-- $1 runs, $2 pod, $3 boot, $4 agent names, $5 their versions
WITH seen AS (
    SELECT r.id FROM (SELECT w.id FROM unnest($1::uuid[]) AS w (id) ORDER BY w.id LIMIT cardinality($1)) w
    CROSS JOIN LATERAL (SELECT id FROM runs r WHERE r.id = w.id AND r.status || '' = 'queued' FOR NO KEY UPDATE SKIP LOCKED) r
), claimed AS (
    UPDATE runs r
    SET status = 'running', run_owner_pod = $2, run_owner_boot = $3, attempt = r.attempt + 1,
        claimed_at = now(), last_progress_at = now(), terminal_event_id = NULL, requeued_why = NULL
    FROM seen
    WHERE r.id = seen.id AND r.status || '' = 'queued' AND r.run_owner_pod IS NULL AND r.agent = ANY ($4::text[])
      AND NOT (SELECT EXISTS (SELECT FROM runs o WHERE o.tenant_id = r.tenant_id AND o.thread_id = r.thread_id
                              AND o.status IN ('running', 'waiting')))
      AND NOT (SELECT EXISTS (SELECT FROM runs o WHERE o.tenant_id = r.tenant_id AND o.thread_id = r.thread_id
                              AND o.status = 'queued' AND o.queue_rank < r.queue_rank))
    RETURNING r.*, old.requeued_why AS came_back_why
), begun AS (
    INSERT INTO attempts (run_id, attempt, pod, boot, code_version)
    SELECT id, attempt, $2, $3, ($5::text[])[array_position($4::text[], agent)] FROM claimed
), abandoned AS (
    UPDATE runs r
    SET status = 'failed', attempt = r.attempt + 1, terminal_event_id = (r.attempt + 1) || '-1', finished_at = now(),
        error = jsonb_build_object('code', 'abandoned', 'message', 'a later run of the thread was started'
                                   || coalesce(', after this one was interrupted: ' || (r.error ->> 'message'), ''))
    FROM claimed c
    CROSS JOIN LATERAL (SELECT i.id FROM runs i WHERE i.tenant_id = c.tenant_id AND i.thread_id = c.thread_id AND i.status = 'interrupted'
                        LIMIT 1000) i
    WHERE r.id = i.id AND r.status || '' = 'interrupted' AND r.id <> c.id
    RETURNING r.*, c.id AS by_run
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, '', error), 'failed' FROM abandoned
    RETURNING seq
), asked AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT c.tenant_id, c.thread_id, c.id, m.role, m.parts, 'complete'
    FROM claimed c, LATERAL input_messages(c.input) m
    WHERE c.attempt = 1 AND c.history_until IS NULL
      AND (SELECT count(*) FROM told) >= 0  -- after what an abandoned run has said
    ORDER BY c.id, m.place
)
SELECT c.*, p.pod AS from_pod, coalesce(c.came_back_why, p.ended_why) AS from_why,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'terminal_event_id', a.terminal_event_id, 'error', a.error,
                                                     'keep_through', run_keep_through(a.id))), '[]')
        FROM abandoned a WHERE a.by_run = c.id) AS abandoned
FROM claimed c
LEFT JOIN LATERAL run_attempt_before(c.id, c.attempt) p ON c.attempt > 1
