-- Runs that have ended, two a second until an hour ago, with all of theirs. Ten a thread; but one thread, ended-0, has a tenth of all.
-- {ended} runs
INSERT INTO threads (tenant_id, id, created_at)
SELECT 'default', 'ended-' || n, now() - interval '90 days' FROM generate_series(0, {ended} / 10 + 1) n;

INSERT INTO runs (id, tenant_id, thread_id, agent, pool, status, attempt, queue_rank, input, output, created_at, queued_at, claimed_at,
                  last_progress_at, finished_at, terminal_event_id, changed_xid, changed_at)
SELECT uuidv7(-a.age), 'default', 'ended-' || CASE WHEN n % 10 = 0 THEN 0 ELSE n / 10 + 1 END, 'echo', 'default',
       CASE WHEN n % 1000 = 0 THEN 'cancelled' ELSE 'completed' END, 1, n << 20, '{{}}', '{{}}', t.at, t.at, t.at, t.at, t.at, '1-4', '3', t.at
FROM generate_series(1, {ended}) n,
     LATERAL (SELECT make_interval(secs => 3600 + ({ended} - n) * 0.5) AS age) a,
     LATERAL (SELECT now() - a.age AS at) t;

-- A tenant with few runs among those of a large one: what it lists must not be looked for among all.
INSERT INTO tenants (id) VALUES ('small') ON CONFLICT DO NOTHING;
INSERT INTO threads (tenant_id, id, created_at) VALUES ('small', 'old', now() - interval '90 days');
INSERT INTO runs (id, tenant_id, thread_id, agent, pool, status, attempt, input, claimed_at, finished_at, terminal_event_id, error,
                  changed_xid, created_at)
SELECT uuidv7(interval '-60 days'), 'small', 'old', 'echo', 'default', 'failed', 1, '{{}}', t.at, t.at, '2-1', '{{"code": "x"}}', '3', t.at
FROM generate_series(1, 3), (SELECT now() - interval '60 days' AS at) t;

INSERT INTO attempts (run_id, attempt, pod, boot, code_version, ended_at, ended_why)
SELECT id, 1, 'a', '00000000-0000-0000-0000-000000000001', '1', now(), 'completed' FROM runs;

INSERT INTO steps (run_id, position, kind, name, input_hash, status, attempt, output, last_event_id, finish_id, finished_at)
SELECT id, '0', 'model', 'chat', 'h', 'completed', 1, '{{}}', '1-3', '1-3', finished_at FROM runs;

INSERT INTO messages (id, tenant_id, thread_id, run_id, role, parts, status)
SELECT uuidv7(-(now() - finished_at)), tenant_id, thread_id, id, 'assistant', '[]', 'complete' FROM runs;

INSERT INTO idempotency_keys (tenant_id, key, fingerprint, run_id, created_at)
SELECT tenant_id, 'key-' || n, 'f', id, created_at FROM (SELECT *, row_number() OVER () AS n FROM runs) r WHERE n % 4 = 0;

INSERT INTO changes (xid, tenant_id, run_id, thread_id, agent, status, attempt, at)
SELECT '3', tenant_id, id, thread_id, agent, status, attempt, finished_at FROM runs
WHERE created_at > now() - interval '1 day' ORDER BY id;

INSERT INTO waits (id, run_id, position, kind, done_at)
SELECT uuidv7(), id, '0', 'ask', now() FROM runs WHERE status = 'completed' ORDER BY id LIMIT {ended} / 10;

INSERT INTO deliveries (tenant_id, webhook_id, run_id, url, target, event, payload, next_at, delivered_at)
SELECT 'default', '00000000-0000-0000-0000-000000000001', id, 'https://x', 'x', 'run.completed', '',
       CASE WHEN n % 100 = 0 THEN now() END, CASE WHEN n % 100 <> 0 THEN now() END
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM runs WHERE status = 'completed' ORDER BY id LIMIT {ended} / 10) r;
