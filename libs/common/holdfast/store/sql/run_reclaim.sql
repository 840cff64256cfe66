-- Take runs from a dead owner. Each names the owner and the attempt that the reaper saw; the row is locked and looked at again, so
-- that of many reapers one wins, and a run that went on meanwhile is left alone. What the run becomes is decided here, from the row.
-- An end or an interruption takes an attempt of its own, since the dead owner may still write.
-- $1 pod, $2 boot, $3 run ids, $4 their attempts
WITH seen AS (
    SELECT r.id, r.cancel_requested_at, r.on_owner_lost, r.crashes, r.max_crashes  -- the locked row's, not the snapshot's
    FROM runs r JOIN unnest($3::uuid[], $4::int[]) AS s (id, attempt) ON r.id = s.id AND r.attempt = s.attempt
    WHERE r.status = 'running' AND r.run_owner_pod = $1 AND r.run_owner_boot = $2
    ORDER BY r.id FOR NO KEY UPDATE OF r
), judged AS (
    SELECT id, CASE
        WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN on_owner_lost = 'fail' OR crashes + 1 >= max_crashes THEN 'failed'
        WHEN on_owner_lost = 'interrupt' THEN 'interrupted'
        ELSE 'queued' END AS becomes
    FROM seen
), taken AS (
    UPDATE runs r
    SET status = j.becomes, run_owner_pod = NULL, run_owner_boot = NULL, crashes = r.crashes + 1, queued_at = now(),
        requeued_why = CASE WHEN j.becomes = 'queued' THEN 'owner_lost' END,
        attempt = r.attempt + CASE WHEN j.becomes = 'queued' THEN 0 ELSE 1 END,
        terminal_event_id = CASE WHEN j.becomes <> 'queued' THEN (r.attempt + 1) || '-1' END,
        finished_at = CASE WHEN j.becomes IN ('cancelled', 'failed') THEN now() END,
        error = CASE WHEN j.becomes = 'interrupted' OR j.becomes = 'failed' AND r.on_owner_lost = 'fail'
                     THEN jsonb_build_object('code', 'owner_lost', 'message', 'the pod ' || $1 || ' died while it ran this')
                     WHEN j.becomes = 'failed'
                     THEN jsonb_build_object('code', 'crash_loop', 'message',
                              'it lost its pod ' || (r.crashes + 1) || ' times without finishing a step') END
    FROM judged j
    WHERE r.id = j.id AND r.status = 'running' AND r.run_owner_pod = $1 AND r.run_owner_boot = $2
    RETURNING r.*
), closed AS (
    UPDATE attempts a SET ended_at = now(), ended_why = 'owner_lost'
    FROM taken t WHERE a.run_id = t.id AND a.ended_at IS NULL
), told AS (
    INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
    SELECT tenant_id, thread_id, id, 'assistant', run_parts(id, '', error),
           CASE status WHEN 'failed' THEN 'failed' ELSE 'incomplete' END
    FROM taken WHERE status IN ('failed', 'cancelled')
)
SELECT t.id, t.status, t.pool, t.attempt, t.error, t.terminal_event_id, t.parent_run_id,
       run_keep_through(t.id) AS keep_through, n.id AS next_id, n.pool AS next_pool
FROM taken t
LEFT JOIN LATERAL (SELECT id, pool FROM runs r WHERE r.tenant_id = t.tenant_id AND r.thread_id = t.thread_id
                   AND r.status = 'queued' AND t.status <> 'queued' ORDER BY queue_rank LIMIT 1) n ON true
