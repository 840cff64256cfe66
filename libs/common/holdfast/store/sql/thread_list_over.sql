-- The next threads by age, tenant by tenant, and which of them look over: none of their runs is active, and the newest ended so long ago.
-- What is over is judged again once the thread is locked. Each look is for one row: of many queued runs none but the first is read.
-- $1 and $2 behind this tenant's seq, $3 kept for so many seconds, $4 at most so many threads are looked at
SELECT t.tenant_id, t.id, t.seq, t.created_at < kept.since AS old,
       t.created_at < kept.since AND at_work.yes IS NULL AND queued.yes IS NULL AND interrupted.yes IS NULL
       AND coalesce(newest.finished_at < kept.since, true) AS over
FROM (SELECT now() - make_interval(secs => $3::double precision) AS since) kept
CROSS JOIN (SELECT tenant_id, id, seq, created_at FROM threads
            WHERE (tenant_id, seq) > ($1::text, $2::bigint) ORDER BY tenant_id, seq LIMIT $4) t
LEFT JOIN LATERAL (SELECT true AS yes FROM runs WHERE tenant_id = t.tenant_id AND thread_id = t.id AND status IN ('running', 'waiting')
                   LIMIT 1) at_work ON t.created_at < kept.since
LEFT JOIN LATERAL (SELECT true AS yes FROM runs WHERE tenant_id = t.tenant_id AND thread_id = t.id AND status = 'queued' LIMIT 1) queued
    ON t.created_at < kept.since
LEFT JOIN LATERAL (SELECT true AS yes FROM runs WHERE tenant_id = t.tenant_id AND thread_id = t.id AND status = 'interrupted' LIMIT 1) interrupted
    ON t.created_at < kept.since
LEFT JOIN LATERAL (SELECT finished_at FROM runs WHERE tenant_id = t.tenant_id AND thread_id = t.id ORDER BY tenant_id, thread_id, id DESC
                   LIMIT 1) newest ON t.created_at < kept.since
ORDER BY t.tenant_id, t.seq
