-- {running} runs at work, as many interrupted ones, and {waiting} that wait: for a person, a time and a child, in turn. The children run.
INSERT INTO threads (tenant_id, id)
SELECT 'default', s.status || '-' || n
FROM (VALUES ('running', {running}), ('waiting', {waiting}), ('interrupted', {running})) s (status, many), generate_series(1, s.many) n;

INSERT INTO runs (id, tenant_id, thread_id, agent, pool, status, attempt, run_owner_pod, run_owner_boot, input, claimed_at,
                  last_progress_at, terminal_event_id, error, changed_xid, changed_at)
SELECT uuidv7(), tenant_id, id, 'echo', 'default', s.status, 1,
       CASE s.status WHEN 'running' THEN 'pod-' || seq % 8 END,
       CASE s.status WHEN 'running' THEN '00000000-0000-0000-0000-000000000001'::uuid END, '{{}}', now(), now(),
       CASE s.status WHEN 'interrupted' THEN '2-1' END, CASE s.status WHEN 'interrupted' THEN '{{"code": "x"}}'::jsonb END, '3', now()
FROM threads, LATERAL (SELECT split_part(id, '-', 1) AS status) s WHERE s.status IN ('running', 'waiting', 'interrupted');

INSERT INTO attempts (run_id, attempt, pod, boot, code_version)
SELECT id, 1, run_owner_pod, run_owner_boot, '1' FROM runs WHERE status = 'running';

INSERT INTO steps (run_id, position, kind, name, input_hash, status, attempt)
SELECT id, '0', 'model', 'chat', 'h', 'started', 1 FROM runs WHERE status IN ('running', 'waiting');

INSERT INTO waits (id, run_id, position, kind, wake_at, child_run_id, suspended)
SELECT uuidv7(), id, '0', k.kind, CASE k.kind WHEN 'sleep' THEN now() + make_interval(secs => 600 + n) END,
       CASE k.kind WHEN 'child' THEN uuidv7() END, true
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM runs WHERE status = 'waiting') r,
     LATERAL (SELECT (ARRAY['ask', 'sleep', 'child'])[1 + n % 3] AS kind) k;

INSERT INTO threads (tenant_id, id) SELECT 'default', 'child-' || child_run_id FROM waits WHERE child_run_id IS NOT NULL;

INSERT INTO runs (id, tenant_id, thread_id, agent, pool, status, input, parent_run_id, parent_position, attempt, run_owner_pod,
                  run_owner_boot, claimed_at, last_progress_at, changed_xid, changed_at)
SELECT child_run_id, 'default', 'child-' || child_run_id, 'echo', 'default', 'running', '{{}}', run_id, '0', 1, 'pod-0',
       '00000000-0000-0000-0000-000000000001', now(), now(), '3', now()
FROM waits WHERE child_run_id IS NOT NULL;
