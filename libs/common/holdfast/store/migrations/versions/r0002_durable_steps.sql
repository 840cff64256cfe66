-- Durable steps. Code of 0001 works with this schema too, so a rolling upgrade needs no pause: what it does not fill has a default,
-- and what it did not know (finish_id) is read from what it wrote (last_event_id).

ALTER TABLE runs
    ADD COLUMN deadline_at     timestamptz,
    ADD COLUMN idle_timeout_s  integer NOT NULL DEFAULT 600 CHECK (idle_timeout_s >= 1),
    ADD COLUMN on_unknown      text CHECK (on_unknown IN ('retry', 'fail', 'ask')),
    ADD COLUMN parent_run_id   uuid,
    ADD COLUMN parent_position text,
    ADD COLUMN forked_from     uuid,
    -- a fork on its original's thread: the newest message that it sees
    ADD COLUMN history_until   bigint,
    -- how it came back to the queue; its claim tells and clears it
    ADD COLUMN requeued_why    text CHECK (requeued_why IN ('released', 'owner_lost', 'answered', 'woken', 'resumed')),
    -- a cancel of a waiting run ends it, and a suspend of a cancelled one too; so a wake never meets a cancel
    ADD CONSTRAINT runs_waiting_is_wanted CHECK (status <> 'waiting' OR cancel_requested_at IS NULL);
CREATE INDEX runs_deadline ON runs (deadline_at) WHERE deadline_at IS NOT NULL AND status IN ('queued', 'running', 'waiting');
CREATE INDEX runs_progress ON runs (last_progress_at) WHERE status = 'running';
CREATE INDEX runs_children ON runs (parent_run_id)
    WHERE parent_run_id IS NOT NULL AND status IN ('queued', 'running', 'waiting', 'interrupted');
CREATE INDEX runs_forks ON runs (forked_from) WHERE forked_from IS NOT NULL;

-- Room between the ranks of a queue, so that what is put first comes behind the run that is at work or waits, and keeps its place
-- behind it when that one is queued again.
ALTER SEQUENCE run_queue_rank INCREMENT BY 1048576;
SELECT setval('run_queue_rank', last_value << 20, is_called) FROM run_queue_rank;
UPDATE runs SET queue_rank = queue_rank << 20 WHERE status IN ('queued', 'running', 'waiting', 'interrupted');

-- What an attempt that suspended had shown outside of steps since the last finished one: viewers keep it, as a checkpoint's.
ALTER TABLE attempts
    ADD COLUMN shown_text    text NOT NULL DEFAULT '',
    ADD COLUMN last_event_id text,
    ADD COLUMN finish_id     text,
    ADD COLUMN emits         jsonb;

-- Its body is bound to the columns that the table had.
CREATE OR REPLACE FUNCTION run_attempt_before(of_run uuid, this_attempt integer) RETURNS SETOF attempts LANGUAGE sql VOLATILE ROWS 1
BEGIN ATOMIC
    SELECT * FROM attempts WHERE run_id = of_run AND attempt < this_attempt ORDER BY attempt DESC LIMIT 1;
END;

-- `retry`: its outcome was unknown, and a person said: run it again. `finish_id` is known even when the log lost the event, and
-- `last_event_id` with it. `told` is false for what was finished while nobody owned the run.
ALTER TABLE steps
    ADD COLUMN call_id      text,
    ADD COLUMN input        jsonb,
    ADD COLUMN code_version text NOT NULL DEFAULT '',
    ADD COLUMN timeout_s    real,
    ADD COLUMN errors       jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(errors) = 'array'),
    ADD COLUMN recorded     jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(recorded) = 'array'),
    ADD COLUMN emits        jsonb,
    ADD COLUMN finish_id    text,
    ADD COLUMN told         boolean NOT NULL DEFAULT true,
    DROP CONSTRAINT steps_status_check,
    DROP CONSTRAINT steps_finished;
ALTER TABLE steps
    ADD CONSTRAINT steps_status_check CHECK (status IN ('started', 'retry', 'completed', 'failed')),
    ADD CONSTRAINT steps_finished CHECK ((status IN ('completed', 'failed')) = (finished_at IS NOT NULL));
UPDATE steps SET finish_id = last_event_id WHERE status <> 'started';

-- What runs wait for: an answer, a time, a child's end. The id is the question's. An answer is taken once the wait is suspended.
-- `recorded` is the runner's own, as a step's.
CREATE TABLE waits (
    id            uuid PRIMARY KEY,
    run_id        uuid NOT NULL REFERENCES runs (id),
    position      text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('ask', 'sleep', 'child', 'unknown')),
    question      jsonb,
    schema        jsonb,
    wake_at       timestamptz,
    child_run_id  uuid,
    opened_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    finish_id     text,
    last_event_id text,
    suspended     boolean NOT NULL DEFAULT false,
    answer        jsonb,
    done_at       timestamptz,
    recorded      jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(recorded) = 'array'),
    CONSTRAINT waits_time CHECK ((kind = 'sleep') = (wake_at IS NOT NULL)),
    CONSTRAINT waits_child CHECK ((kind = 'child') = (child_run_id IS NOT NULL))
);
CREATE INDEX waits_run ON waits (run_id);
CREATE INDEX waits_open ON waits (run_id) WHERE done_at IS NULL;
CREATE INDEX waits_due ON waits (wake_at) WHERE done_at IS NULL AND wake_at IS NOT NULL;
CREATE INDEX waits_child_run ON waits (child_run_id) WHERE child_run_id IS NOT NULL;

-- A fork's copy of what its original saw, on a thread of its own: its run's by name, and yet said before it.
ALTER TABLE messages ADD COLUMN copied boolean NOT NULL DEFAULT false;

-- What the record keeps of a run's answer, in order: the text of its finished steps, and of attempts that suspended.
CREATE OR REPLACE FUNCTION run_shown_text(of_run uuid) RETURNS text LANGUAGE sql VOLATILE
    RETURN (SELECT coalesce(string_agg(k.shown_text, '' ORDER BY event_order(k.finish_id), k.place NULLS FIRST), '')
            FROM (SELECT coalesce(finish_id, last_event_id) AS finish_id, step_order(position) AS place, shown_text
                  FROM steps WHERE run_id = of_run AND status IN ('completed', 'failed')
                  UNION ALL
                  SELECT finish_id, NULL, shown_text FROM attempts WHERE run_id = of_run AND ended_why = 'waiting') k);

CREATE OR REPLACE FUNCTION run_keep_through(of_run uuid) RETURNS text LANGUAGE sql VOLATILE
    RETURN (SELECT k.last_event_id
            FROM (SELECT last_event_id FROM steps WHERE run_id = of_run AND status IN ('completed', 'failed')
                  UNION ALL
                  SELECT last_event_id FROM attempts WHERE run_id = of_run AND ended_why = 'waiting') k
            WHERE k.last_event_id IS NOT NULL ORDER BY event_order(k.last_event_id) DESC LIMIT 1);

-- The parts of the message that ends a run: what it keeps of its answer, then `rest`, the text beyond that, then the error. Each tool
-- call of a finished model step is followed by its result, whatever became of it: a provider refuses a call without one. The step
-- behind a call is the last one with its id before the next model step (a call that was put off has two), since ids may come again
-- in later turns; its input is what the tool was really called with. A call without a step was refused when the model went on behind
-- it. Tool calls of a run without model steps (an agent that is a child process) stand for themselves.
-- VOLATILE, so that it reads with a snapshot of its own, taken after the run's row was locked (see 0001).
CREATE FUNCTION run_parts(of_run uuid, rest text, error jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN (
    WITH placed AS (
        SELECT s.kind, s.name, s.input, s.status, s.call_id, s.output, s.error, s.shown_text, coalesce(s.finish_id, s.last_event_id) AS finish_id,
               step_order(s.position) AS place,
               count(*) FILTER (WHERE s.kind = 'model') OVER (ORDER BY step_order(s.position)) AS turn
        FROM steps s WHERE s.run_id = of_run
    ), behind AS (
        SELECT DISTINCT ON (turn, call_id) turn, call_id, input, status, output, error
        FROM placed WHERE call_id IS NOT NULL AND kind <> 'model' ORDER BY turn, call_id, place DESC
    ), kept AS (
        SELECT row_number() OVER (ORDER BY event_order(k.finish_id), k.place NULLS FIRST) AS n, k.shown_text, k.turn, k.calls
        FROM (SELECT finish_id, place, shown_text, turn,
                     CASE WHEN kind = 'model' AND jsonb_typeof(output -> 'tool_calls') = 'array' THEN output -> 'tool_calls'
                          WHEN kind = 'tool' AND call_id IS NOT NULL AND NOT EXISTS (SELECT FROM placed WHERE kind = 'model')
                          THEN jsonb_build_array(jsonb_build_object('id', call_id, 'name', name, 'input', input)) END AS calls
              FROM placed WHERE status IN ('completed', 'failed')
              UNION ALL
              SELECT NULL, place, '', turn, jsonb_build_array(jsonb_build_object('id', call_id, 'name', name, 'input', input))
              FROM placed WHERE status IN ('started', 'retry') AND kind = 'tool' AND call_id IS NOT NULL
                AND NOT EXISTS (SELECT FROM placed WHERE kind = 'model')
              UNION ALL
              SELECT a.finish_id, NULL, a.shown_text, NULL, NULL
              FROM attempts a WHERE a.run_id = of_run AND a.ended_why = 'waiting') k
    ), calls AS (
        SELECT k.n, c.m, jsonb_build_object('tool_call_id', c.call -> 'id', 'tool_name', c.call -> 'name') AS named,
               coalesce(b.input, c.call -> 'input') AS input, b.status, b.output, b.error,
               k.turn < (SELECT max(turn) FROM placed) AS answered
        FROM kept k
        CROSS JOIN LATERAL jsonb_array_elements(k.calls) WITH ORDINALITY AS c (call, m)
        LEFT JOIN behind b ON b.turn = k.turn AND b.call_id = c.call ->> 'id'
    ), pieces AS (
        SELECT n, 0 AS m, 0 AS half, shown_text AS said, NULL::jsonb AS part FROM kept WHERE shown_text <> ''
        UNION ALL
        SELECT n, m, 1, NULL, jsonb_build_object('type', 'tool-call', 'input', input) || named FROM calls
        UNION ALL
        SELECT n, m, 2, NULL, jsonb_build_object('type', 'tool-result') || named || CASE
            WHEN status = 'completed' THEN jsonb_build_object('status', 'completed', 'output', output)
            WHEN status = 'failed' THEN jsonb_build_object('status', 'failed', 'error', error)
            WHEN status IS NULL AND answered THEN '{"status": "failed", "error": {"code": "refused",
                   "message": "the call was refused before it was made, and the model was told why"}}'
            WHEN status IS NULL THEN '{"status": "cancelled", "error": {"code": "cancelled", "message": "not run"}}'
            ELSE '{"status": "unknown", "error": {"code": "unknown",
                   "message": "nobody knows how it ended: it may or may not have been done"}}' END
        FROM calls
        UNION ALL
        SELECT (SELECT count(*) FROM kept) + 1, 0, 0, rest, NULL WHERE rest <> ''
    ), joined AS (
        SELECT i.island, i.part IS NULL AS is_text,
               CASE WHEN i.part IS NULL THEN jsonb_build_object('type', 'text', 'text', string_agg(i.said, '' ORDER BY i.n, i.m))
                    ELSE i.part END AS part
        FROM (SELECT p.*, count(p.part) OVER (ORDER BY p.n, p.m, p.half) AS island FROM pieces p) i
        GROUP BY i.island, i.part
    )
    SELECT coalesce(jsonb_agg(j.part ORDER BY j.island, j.is_text), '[]') FROM joined j
) || message_parts('', error);

-- The longest that a step which this attempt has begun may take, in seconds: so long it may be silent.
CREATE FUNCTION run_longest_step(of_run uuid, of_attempt integer) RETURNS double precision LANGUAGE sql VOLATILE
    RETURN (SELECT coalesce(max(timeout_s), 0) FROM steps
            WHERE run_id = of_run AND status = 'started' AND attempt = of_attempt);

-- Complete what a run waits for and what is over: its time has come, its child has ended. The run's row is locked by the caller.
-- Returns why the run need not wait: 'woken' when something was over, 'answered' when one of `listed` had its answer before, else
-- null. VOLATILE: with a snapshot of its own it sees the child's end, and the answer, that came while the caller waited for the lock,
-- and what the caller's statement has just written.
CREATE FUNCTION waits_settle(of_run uuid, of_attempt integer, listed uuid[]) RETURNS text LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH passed AS (
        UPDATE waits w SET done_at = now()
        WHERE w.run_id = of_run AND w.done_at IS NULL AND w.suspended
          AND (w.wake_at <= now()
               OR w.child_run_id IS NOT NULL
                  AND NOT EXISTS (SELECT FROM runs c WHERE c.id = w.child_run_id
                                  AND c.status IN ('queued', 'running', 'waiting', 'interrupted')))
        RETURNING w.position, w.kind, w.child_run_id, w.finish_id, w.last_event_id
    ), completed AS (
        UPDATE steps s
        SET status = 'completed', told = false, attempt = of_attempt, finished_at = now(),
            finish_id = p.finish_id, last_event_id = p.last_event_id,
            output = CASE p.kind WHEN 'child' THEN coalesce(
                (SELECT jsonb_build_object('run_id', c.id, 'status', c.status, 'output', c.output, 'error', c.error)
                 FROM runs c WHERE c.id = p.child_run_id),
                jsonb_build_object('run_id', p.child_run_id, 'status', 'failed', 'output', NULL, 'error',
                                   '{"code": "child_deleted", "message": "the child run was deleted"}'::jsonb)) END
        FROM passed p
        WHERE s.run_id = of_run AND s.position = p.position AND s.status = 'started'
    )
    SELECT CASE WHEN EXISTS (SELECT FROM passed) THEN 'woken'
                WHEN EXISTS (SELECT FROM waits w WHERE w.run_id = of_run AND w.id = ANY (listed) AND w.done_at IS NOT NULL)
                THEN 'answered' END;
END;
