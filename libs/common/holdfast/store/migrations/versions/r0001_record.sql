-- The record. What is not here did not happen. Columns hold Postgres's now(); no clock of a pod is ever written.

CREATE TABLE tenants (
    id          text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    created_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenants (id) VALUES ('default');

-- A key is stored as its SHA-256: keys are random, 256 bits, so a slow hash would add nothing.
CREATE TABLE api_keys (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id   text NOT NULL REFERENCES tenants (id),
    name        text NOT NULL DEFAULT '',
    prefix      text NOT NULL,
    key_hash    bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    operator    boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz,
    CONSTRAINT api_keys_hash UNIQUE (key_hash)
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

-- What each runner has loaded. The newest row of a name tells a submit its pool.
CREATE TABLE agents (
    pod          text NOT NULL,
    name         text NOT NULL,
    boot         uuid NOT NULL,
    pool         text NOT NULL,
    version      text NOT NULL,
    description  text NOT NULL DEFAULT '',
    input_schema jsonb NOT NULL DEFAULT '{}',
    seen_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pod, name)
);
CREATE INDEX agents_name ON agents (name, seen_at DESC);

CREATE TABLE threads (
    tenant_id   text NOT NULL REFERENCES tenants (id),
    id          text NOT NULL CHECK (id ~ '^[A-Za-z0-9._:@-]{1,128}$'),
    metadata    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    seq         bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX threads_listed ON threads (tenant_id, seq DESC);

CREATE SEQUENCE run_queue_rank;

CREATE TABLE runs (
    id                  uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id           text NOT NULL,
    thread_id           text NOT NULL,
    agent               text NOT NULL,
    pool                text NOT NULL,
    status              text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'waiting', 'interrupted', 'completed', 'failed', 'cancelled')),
    queue_rank          bigint NOT NULL DEFAULT nextval('run_queue_rank'),
    attempt             integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    run_owner_pod       text,
    run_owner_boot      uuid,
    crashes             integer NOT NULL DEFAULT 0 CHECK (crashes >= 0),
    max_crashes         integer NOT NULL DEFAULT 5 CHECK (max_crashes >= 1),
    on_owner_lost       text NOT NULL DEFAULT 'resume' CHECK (on_owner_lost IN ('resume', 'interrupt', 'fail')),
    input               jsonb NOT NULL,
    output              jsonb,
    error               jsonb,
    metadata            jsonb NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    queued_at           timestamptz NOT NULL DEFAULT now(),
    claimed_at          timestamptz,
    last_progress_at    timestamptz,
    cancel_requested_at timestamptz,
    finished_at         timestamptz,
    terminal_event_id   text,
    FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id),
    -- only a running run has an owner, and it has both halves of one
    CONSTRAINT runs_owner CHECK (
        (status = 'running') = (run_owner_pod IS NOT NULL) AND (status = 'running') = (run_owner_boot IS NOT NULL)),
    CONSTRAINT runs_ended CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT runs_terminal_event CHECK (
        (status IN ('completed', 'failed', 'cancelled', 'interrupted')) = (terminal_event_id IS NOT NULL)),
    CONSTRAINT runs_failed_why CHECK ((status = 'failed') <= (error IS NOT NULL))
) WITH (fillfactor = 80);

-- whatever the code does, a thread has one running or waiting run
CREATE UNIQUE INDEX runs_thread_active ON runs (tenant_id, thread_id) WHERE status IN ('running', 'waiting');
CREATE INDEX runs_thread_queue ON runs (tenant_id, thread_id, queue_rank) WHERE status = 'queued';
CREATE INDEX runs_thread_interrupted ON runs (tenant_id, thread_id) WHERE status = 'interrupted';
CREATE INDEX runs_queued ON runs (id) WHERE status = 'queued';
CREATE INDEX runs_owned ON runs (run_owner_pod, run_owner_boot) WHERE status = 'running';
CREATE INDEX runs_cancelling ON runs (cancel_requested_at) WHERE status = 'running' AND cancel_requested_at IS NOT NULL;
CREATE INDEX runs_listed ON runs (tenant_id, id DESC);
CREATE INDEX runs_thread_listed ON runs (tenant_id, thread_id, id DESC);

CREATE FUNCTION runs_refuse_undead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'run % is %: a terminal status is final', OLD.id, OLD.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'runs_terminal_is_final';
END $$;
CREATE TRIGGER runs_terminal_is_final BEFORE UPDATE ON runs FOR EACH ROW
    WHEN (OLD.status IN ('completed', 'failed', 'cancelled'))
    EXECUTE FUNCTION runs_refuse_undead();

CREATE FUNCTION runs_refuse_old_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'run %: attempt % after %', OLD.id, NEW.attempt, OLD.attempt
        USING ERRCODE = 'check_violation', CONSTRAINT = 'runs_attempt_grows';
END $$;
CREATE TRIGGER runs_attempt_grows BEFORE UPDATE ON runs FOR EACH ROW
    WHEN (NEW.attempt < OLD.attempt)
    EXECUTE FUNCTION runs_refuse_old_attempt();

CREATE TABLE idempotency_keys (
    tenant_id   text NOT NULL REFERENCES tenants (id),
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    run_id      uuid NOT NULL REFERENCES runs (id) DEFERRABLE INITIALLY DEFERRED,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_run ON idempotency_keys (run_id);

CREATE TABLE attempts (
    run_id       uuid NOT NULL REFERENCES runs (id),
    attempt      integer NOT NULL,
    pod          text NOT NULL,
    boot         uuid NOT NULL,
    code_version text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    ended_why    text,
    PRIMARY KEY (run_id, attempt),
    CONSTRAINT attempts_ended CHECK ((ended_at IS NULL) = (ended_why IS NULL))
);

-- The journal. `shown_text` is the text that viewers were shown since the step finished before this one.
CREATE TABLE steps (
    run_id        uuid NOT NULL REFERENCES runs (id),
    position      text NOT NULL CHECK (position ~ '^[0-9]+(\.[0-9]+)*$'),
    kind          text NOT NULL,
    name          text NOT NULL,
    input_hash    bytea NOT NULL,
    status        text NOT NULL CHECK (status IN ('started', 'completed', 'failed')),
    tries         integer NOT NULL DEFAULT 1 CHECK (tries >= 1),
    attempt       integer NOT NULL,
    output        jsonb,
    error         jsonb,
    shown_text    text NOT NULL DEFAULT '',
    last_event_id text,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    PRIMARY KEY (run_id, position),
    CONSTRAINT steps_finished CHECK ((status = 'started') = (finished_at IS NULL))
);

CREATE TABLE messages (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id   text NOT NULL,
    thread_id   text NOT NULL,
    run_id      uuid NOT NULL REFERENCES runs (id),
    seq         bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    role        text NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    parts       jsonb NOT NULL CHECK (jsonb_typeof(parts) = 'array'),
    status      text NOT NULL CHECK (status IN ('complete', 'incomplete', 'failed')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id)
);
CREATE INDEX messages_thread ON messages (tenant_id, thread_id, seq);
CREATE INDEX messages_run ON messages (run_id);

-- The order of steps: "2" before "10", "3" before "3.0" before "3.1".
CREATE FUNCTION step_order(at text) RETURNS integer[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN string_to_array(at, '.')::integer[];

-- The order of events: "2-3" before "10-1".
CREATE FUNCTION event_order(event_id text) RETURNS integer[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN string_to_array(event_id, '-')::integer[];

-- What the record holds of a run's answer when its owner is not there to say it: the text of its finished steps.
-- VOLATILE, here and below, so that it reads with a snapshot of its own. A statement that ends a run may have waited for the
-- run's row while its owner's checkpoint committed: with the statement's snapshot that step would be missing from the end.
CREATE FUNCTION run_shown_text(of_run uuid) RETURNS text LANGUAGE sql VOLATILE
    RETURN (SELECT coalesce(string_agg(shown_text, '' ORDER BY event_order(last_event_id), step_order(position)), '')
            FROM steps WHERE run_id = of_run AND status <> 'started');

-- The parts of an answer's message: its text, and the error that ended it.
CREATE FUNCTION message_parts(shown text, error jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN shown = '' THEN '[]'::jsonb
                ELSE jsonb_build_array(jsonb_build_object('type', 'text', 'text', shown)) END
        || CASE WHEN error IS NULL THEN '[]'::jsonb
                ELSE jsonb_build_array(jsonb_build_object('type', 'error') || error) END;

-- What a run's input says, as the user's messages: {"messages": [{role, content}]}, else the input as one data part.
CREATE FUNCTION input_messages(input jsonb)
    RETURNS TABLE (place bigint, role text, parts jsonb) LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    SELECT m.place,
           CASE WHEN m.value ->> 'role' IN ('system', 'user', 'assistant', 'tool') THEN m.value ->> 'role' ELSE 'user' END,
           CASE jsonb_typeof(m.value -> 'content')
               WHEN 'string' THEN jsonb_build_array(jsonb_build_object('type', 'text', 'text', m.value ->> 'content'))
               WHEN 'array' THEN m.value -> 'content'
               ELSE jsonb_build_array(jsonb_build_object('type', 'data', 'data', m.value)) END
    FROM jsonb_array_elements(CASE WHEN jsonb_typeof(input -> 'messages') = 'array' THEN input -> 'messages' ELSE '[]' END)
         WITH ORDINALITY AS m (value, place)
    UNION ALL
    SELECT 1, 'user', jsonb_build_array(jsonb_build_object('type', 'data', 'data', input))
    WHERE coalesce(jsonb_typeof(input -> 'messages'), '') <> 'array';
END;

-- The newest event of a finished step: what a takeover keeps, and what a stranger's terminal event keeps.
CREATE FUNCTION run_keep_through(of_run uuid) RETURNS text LANGUAGE sql VOLATILE
    RETURN (SELECT last_event_id FROM steps WHERE run_id = of_run AND status <> 'started' AND last_event_id IS NOT NULL
            ORDER BY event_order(last_event_id) DESC LIMIT 1);

-- The claim before the one with this attempt, if there was one: whose run it was, and why that ended.
CREATE FUNCTION run_attempt_before(of_run uuid, this_attempt integer) RETURNS SETOF attempts LANGUAGE sql VOLATILE ROWS 1
BEGIN ATOMIC
    SELECT * FROM attempts WHERE run_id = of_run AND attempt < this_attempt ORDER BY attempt DESC LIMIT 1;
END;

-- The oldest code that can work with this schema. A migration that takes something away raises it.
CREATE TABLE schema_support (oldest_code text NOT NULL);
INSERT INTO schema_support (oldest_code) VALUES ('0001');
