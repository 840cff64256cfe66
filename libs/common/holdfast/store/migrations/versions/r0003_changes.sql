-- A change commits with what it tells of, whichever statement made it: nothing can be lost between the two.
--
-- Readers go by (xid, id) and stop before the oldest transaction that is still open. By ids alone they would pass over a row that
-- commits late, since ids are given out before the commit. And a run's changes must be in the order in which they happened, which
-- transactions' numbers are not: one may take its number, wait for the run's row, and find it changed by a later one. So `xid` is
-- the writer's number, or that of the run's change before if it is higher. Both commit before a reader may pass the higher one.
CREATE TABLE changes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    tenant_id  text NOT NULL,
    run_id     uuid NOT NULL,
    thread_id  text NOT NULL,
    agent      text NOT NULL,
    status     text NOT NULL,  -- of the run; 'deleted' for one that is gone
    attempt    integer NOT NULL,
    cancelling boolean NOT NULL DEFAULT false,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX changes_read ON changes (tenant_id, xid, id);

-- The last change that was forgotten: who stands before it may have missed something. One row.
CREATE TABLE changes_forgotten (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    xid      xid8 NOT NULL DEFAULT '0',
    id       bigint NOT NULL DEFAULT 0
);
INSERT INTO changes_forgotten DEFAULT VALUES;

-- The run's last change. The defaults come after the columns: with them the whole table would be written anew.
ALTER TABLE runs ADD COLUMN changed_xid xid8, ADD COLUMN changed_at timestamptz;
ALTER TABLE runs ALTER COLUMN changed_xid SET DEFAULT pg_current_xact_id(), ALTER COLUMN changed_at SET DEFAULT clock_timestamp();

-- A number that this server has not given out yet comes from another one, whose dump was restored here: it counts for nothing.
CREATE FUNCTION change_xid(before xid8) RETURNS xid8 LANGUAGE plpgsql AS $$
BEGIN
    IF before > pg_current_xact_id() AND before < pg_snapshot_xmax(pg_current_snapshot()) THEN
        RETURN before;
    END IF;
    RETURN pg_current_xact_id();
END $$;

CREATE FUNCTION run_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    IF OLD.changed_xid > NEW.changed_xid THEN  -- rarely; every change of every run comes by here
        NEW.changed_xid := change_xid(OLD.changed_xid);
    END IF;
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE FUNCTION run_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO changes (xid, tenant_id, run_id, thread_id, agent, status, attempt)
        VALUES (change_xid(OLD.changed_xid), OLD.tenant_id, OLD.id, OLD.thread_id, OLD.agent, 'deleted', OLD.attempt);
    ELSE
        INSERT INTO changes (xid, tenant_id, run_id, thread_id, agent, status, attempt, cancelling, at)
        VALUES (NEW.changed_xid, NEW.tenant_id, NEW.id, NEW.thread_id, NEW.agent, NEW.status, NEW.attempt,
                NEW.status = 'running' AND NEW.cancel_requested_at IS NOT NULL, NEW.changed_at);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER run_made_or_gone AFTER INSERT OR DELETE ON runs FOR EACH ROW EXECUTE FUNCTION run_changed();

-- What moves a run without changing what is shown of it (its progress, its place in the queue) fires neither.
CREATE TRIGGER run_moves BEFORE UPDATE ON runs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.attempt IS DISTINCT FROM NEW.attempt
          OR OLD.cancel_requested_at IS DISTINCT FROM NEW.cancel_requested_at)
    EXECUTE FUNCTION run_changes();
CREATE TRIGGER run_moved AFTER UPDATE ON runs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.attempt IS DISTINCT FROM NEW.attempt
          OR OLD.cancel_requested_at IS DISTINCT FROM NEW.cancel_requested_at)
    EXECUTE FUNCTION run_changed();
