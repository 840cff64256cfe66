-- The same cost for a run whether there are a thousand others or a million. Nothing of the record changes here but how it is kept, so
-- code of 0004 works with this schema, and a rolling upgrade needs no pause.
--
-- Each part, up to a line `-- commit`, is a transaction of its own, and may be carried out again after one that was broken off. Statements
-- of services lock several tables, one after the other; so who holds one of those and asks for the next stands in the way of somebody who
-- holds that one and asks for this. An index is therefore built with a lock on one table only, while readers pass and writers wait, some
-- 2 s for each million runs; services repeat what they could not write. Who has tens of millions makes the first one before, with the
-- statement below and CONCURRENTLY, and pauses nobody. One that was broken off there is of no use, and made here.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('runs_by_status') AND NOT indisvalid) THEN
        DROP INDEX runs_by_status;
    END IF;
END $$;
-- commit

-- A tenant's runs in one status, in their order. It replaces two: a list of all statuses merges seven ranges of it, and the active runs are
-- found without the ended ones. Ascending in every column, so that a range of it can be named by rows, (tenant, status, id) < (…): of
-- several indexes with the order that a list wants, the planner takes for a tenant's few runs the one of all tenants' millions.
CREATE INDEX IF NOT EXISTS runs_by_status ON runs (tenant_id, status, id);
-- commit

-- The same for what else is listed by tenant.
CREATE INDEX IF NOT EXISTS threads_by_age ON threads (tenant_id, seq);
-- commit
DROP INDEX IF EXISTS threads_listed;
-- commit
CREATE INDEX IF NOT EXISTS deliveries_by_age ON deliveries (tenant_id, id);
-- commit
DROP INDEX IF EXISTS deliveries_listed;
-- commit

-- With the id: what an owner writes names all three, and finds one row where it read all rows of its pod.
CREATE INDEX IF NOT EXISTS runs_owned_by_id ON runs (run_owner_pod, run_owner_boot, id) WHERE status = 'running';
-- commit

-- Only of what is still waited for; nobody looks for the others.
CREATE INDEX IF NOT EXISTS waits_children ON waits (child_run_id) WHERE done_at IS NULL AND child_run_id IS NOT NULL;
-- commit
DROP INDEX IF EXISTS waits_child_run;
-- commit

-- Room for a step's result on the page of its intent: without it, one in seven such updates is not hot. (Runs have room since 0001.)
ALTER TABLE steps SET (fillfactor = 80);
-- commit

-- What changes by the second is nothing for the planner to know. It plans a statement once and goes by that plan for minutes. While it
-- saw an empty queue it took an index of the queue, read as a whole, for the quickest way to one run by its id; and went that way a
-- thousand times a second when 20,000 were queued. Without statistics of these columns it takes each value for one of 200, so that
-- an index is read by its columns or not at all, whatever the queue is like.
ALTER TABLE runs ALTER COLUMN status SET STATISTICS 0, ALTER COLUMN run_owner_pod SET STATISTICS 0,
                 ALTER COLUMN run_owner_boot SET STATISTICS 0, ALTER COLUMN cancel_requested_at SET STATISTICS 0;
-- commit
ALTER TABLE waits ALTER COLUMN done_at SET STATISTICS 0;
-- commit
SELECT pg_clear_attribute_stats(current_schema(), c.of_table, c.name, false)
FROM (VALUES ('runs', 'status'), ('runs', 'run_owner_pod'), ('runs', 'run_owner_boot'), ('runs', 'cancel_requested_at'), ('waits', 'done_at'))
     AS c (of_table, name);
-- commit

-- The partial indexes hold a few live entries among those of all runs that have passed through them. With the default (a fifth of the
-- table) a million finished runs let 200,000 of those gather; the cost of a vacuum, spread over the runs that it cleans up after, is the
-- same at any size. A small table is left alone: what the planner learns of one that has a hundred runs is wrong a minute later.
ALTER TABLE runs SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_insert_threshold = 10000,
                      autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 10000);
-- commit
ALTER TABLE waits SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
-- commit
ALTER TABLE changes SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000);
-- commit
ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
-- commit

-- The rest is done in a moment, all or nothing: in this order, which is that of the triggers.
LOCK TABLE runs, changes IN ACCESS EXCLUSIVE MODE;
DROP INDEX runs_listed;
DROP INDEX runs_queued;
DROP INDEX runs_owned;
ALTER INDEX runs_owned_by_id RENAME TO runs_owned;

-- An index on what every checkpoint moves made each of them write to all indexes of the run. Without it they are hot updates; stalls are
-- looked for among the running runs.
DROP INDEX runs_progress;

-- What a change has to be told of, if there is anybody to tell: a webhook of the tenant, or the run's own. A delivery commits with the
-- change that it tells of, or not at all. It must never fail, since the change would fail with it: what a run's own webhook is was
-- checked at its submit, and is read here without a cast that could refuse.
-- A request to cancel is a change of a running run, and no event.
CREATE FUNCTION run_deliver(of_run uuid, now_status text, at timestamptz) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO deliveries (tenant_id, webhook_id, run_id, url, target, secret, event, payload)
    SELECT r.tenant_id, w.webhook_id, r.id, w.url, lower(split_part(split_part(split_part(w.url, '/', 3), '?', 1), '#', 1)),
           w.secret, 'run.' || now_status,
           json_build_object(
               'type', 'run.' || now_status,
               'timestamp', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'data', json_build_object('run_id', r.id, 'thread_id', r.thread_id, 'agent', r.agent, 'status', now_status,
                                         'attempt', r.attempt, 'metadata', r.metadata, 'error', r.error, 'waiting_for', waits.kinds))::text
    FROM runs r
    LEFT JOIN LATERAL (SELECT json_agg(DISTINCT k.kind) AS kinds FROM waits k
                       WHERE now_status = 'waiting' AND k.run_id = r.id AND k.suspended AND k.done_at IS NULL) waits ON true
    CROSS JOIN LATERAL (
        SELECT t.id AS webhook_id, t.url, NULL::text AS secret FROM webhooks t
        WHERE t.tenant_id = r.tenant_id AND 'run.' || now_status = ANY (t.events)
        UNION ALL
        SELECT NULL, r.webhook ->> 'url', r.webhook ->> 'secret'
        WHERE r.webhook -> 'events' ? ('run.' || now_status)
          AND r.webhook ->> 'url' IS NOT NULL AND r.webhook ->> 'secret' IS NOT NULL
    ) w
    WHERE r.id = of_run;
END;

-- A change, and what it has to be told of, in one look: what it was before, a trigger on the changes that read the run again, cost as much
-- as the change itself. That nobody is to be told is the most frequent case.
CREATE OR REPLACE FUNCTION run_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told boolean;
BEGIN
    INSERT INTO changes (xid, tenant_id, run_id, thread_id, agent, status, attempt, cancelling, at)
    VALUES (NEW.changed_xid, NEW.tenant_id, NEW.id, NEW.thread_id, NEW.agent, NEW.status, NEW.attempt,
            NEW.status = 'running' AND NEW.cancel_requested_at IS NOT NULL, NEW.changed_at)
    RETURNING WITH (NEW AS written)  -- so that NEW is the run
        NOT written.cancelling
        AND (NEW.webhook IS NOT NULL OR EXISTS (SELECT FROM webhooks w WHERE w.tenant_id = written.tenant_id)) INTO told;
    IF told THEN
        PERFORM run_deliver(NEW.id, NEW.status, NEW.changed_at);
    END IF;
    RETURN NULL;
END $$;

-- Runs that were made: many by one statement, so once for all of them.
CREATE FUNCTION runs_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (xid, tenant_id, run_id, thread_id, agent, status, attempt, at)
    SELECT changed_xid, tenant_id, id, thread_id, agent, status, attempt, changed_at FROM made;
    PERFORM run_deliver(m.id, m.status, m.changed_at) FROM made m
    WHERE m.webhook IS NOT NULL OR EXISTS (SELECT FROM webhooks w WHERE w.tenant_id = m.tenant_id);
    RETURN NULL;
END $$;

-- And those that are gone: retention deletes many. Of such a run nothing is kept that was delivered.
CREATE FUNCTION runs_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (xid, tenant_id, run_id, thread_id, agent, status, attempt)
    SELECT change_xid(changed_xid), tenant_id, id, thread_id, agent, 'deleted', attempt FROM gone;
    DELETE FROM deliveries d USING gone g WHERE d.run_id = g.id AND d.next_at IS NULL;
    RETURN NULL;
END $$;

DROP TRIGGER change_told ON changes;
DROP FUNCTION change_delivered();
DROP TRIGGER run_made_or_gone ON runs;
CREATE TRIGGER runs_made AFTER INSERT ON runs REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION runs_made();
CREATE TRIGGER runs_gone AFTER DELETE ON runs REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION runs_gone();

-- Most answers are text alone. To make their parts the long way, which looks for tool calls and their results in five passes, was the
-- dearest part of a run's end. VOLATILE as before: it reads with a snapshot of its own, taken after the run's row was locked, and while
-- that is locked the journal stays as it is.
ALTER FUNCTION run_parts(uuid, text, jsonb) RENAME TO run_parts_with_calls;
CREATE FUNCTION run_parts(of_run uuid, rest text, error jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN CASE
    WHEN EXISTS (SELECT FROM steps WHERE run_id = of_run AND (call_id IS NOT NULL OR kind = 'model' AND output ? 'tool_calls'))
    THEN run_parts_with_calls(of_run, rest, error)
    ELSE message_parts(run_shown_text(of_run) || rest, error) END;
