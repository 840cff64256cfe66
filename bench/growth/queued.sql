-- A queue of {queued} runs: half of them have a thread each, the others share ten.
INSERT INTO threads (tenant_id, id)
SELECT 'default', 'chat-' || n FROM generate_series(1, 10) n
UNION ALL SELECT 'default', 'queued-' || n FROM generate_series(2, {queued}, 2) n;

INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input, created_at, queued_at, changed_xid, changed_at)
SELECT uuidv7(-a.age), 'default', CASE WHEN n % 2 = 0 THEN 'queued-' || n ELSE 'chat-' || 1 + n / 2 % 10 END, 'echo', 'default', '{{}}',
       now() - a.age, now() - a.age, '3', now() - a.age
FROM generate_series(1, {queued}) n, LATERAL (SELECT make_interval(secs => 10 + 0.03 * ({queued} - n)) AS age) a;
