-- Whom a tenant wants told of its runs. The secret is needed to sign, so it is stored as it is; no answer and no log shows it again.
CREATE TABLE webhooks (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id   text NOT NULL REFERENCES tenants (id),
    url         text NOT NULL,
    events      text[] NOT NULL,
    description text NOT NULL DEFAULT '',
    secret      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, id);

-- Of one run alone, as its submit said: {"url", "secret", "events"}.
ALTER TABLE runs ADD COLUMN webhook jsonb;

-- One message to one receiver. `payload` is what is sent, the same bytes at each try. `next_at` is null once nothing is left to do:
-- it was delivered, or given up. Who tries it holds it until `leased_until`, which proves at the end that the try was still its own.
CREATE TABLE deliveries (
    id           uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id    text NOT NULL,
    webhook_id   uuid,  -- null: of the run alone. No reference: the list outlives the webhook
    run_id       uuid NOT NULL,
    url          text NOT NULL,
    target       text NOT NULL,  -- the host and port of the url: no receiver takes more than its share of those who send
    secret       text,           -- of the run alone
    event        text NOT NULL,
    payload      text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    next_at      timestamptz DEFAULT now(),
    tries        integer NOT NULL DEFAULT 0,
    tried_since  timestamptz,    -- the first of these tries
    leased_until timestamptz,
    delivered_at timestamptz,
    gave_up_at   timestamptz,
    last_status  integer,        -- of the receiver's last answer; null: there was none
    last_error   text,
    CONSTRAINT deliveries_one_state CHECK (num_nonnulls(next_at, delivered_at, gave_up_at) = 1),
    CONSTRAINT deliveries_secret CHECK ((webhook_id IS NULL) = (secret IS NOT NULL))
);
-- of each receiver what is due first; done ones are not in it
CREATE INDEX deliveries_due ON deliveries (target, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_listed ON deliveries (tenant_id, id DESC);
CREATE INDEX deliveries_undelivered ON deliveries (tenant_id, id DESC) WHERE delivered_at IS NULL;
CREATE INDEX deliveries_run ON deliveries (run_id);
CREATE INDEX deliveries_old ON deliveries (coalesce(delivered_at, gave_up_at)) WHERE next_at IS NULL;

-- A delivery commits with the change that it tells of, or not at all. It must never fail, since the change would fail with it: what
-- a run's own webhook is was checked at its submit, and is read here without a cast that could refuse.
-- A request to cancel is a change of a running run, and no event. Of a run that is deleted nothing is kept that was delivered.
CREATE FUNCTION change_delivered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'deleted' THEN
        DELETE FROM deliveries WHERE run_id = NEW.run_id AND next_at IS NULL;
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM webhooks t WHERE t.tenant_id = NEW.tenant_id)  -- nobody to tell: the most frequent case, and cheap
       AND NOT EXISTS (SELECT FROM runs r WHERE r.id = NEW.run_id AND r.webhook IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    INSERT INTO deliveries (tenant_id, webhook_id, run_id, url, target, secret, event, payload)
    SELECT NEW.tenant_id, w.webhook_id, NEW.run_id, w.url, lower(split_part(split_part(split_part(w.url, '/', 3), '?', 1), '#', 1)),
           w.secret, 'run.' || NEW.status,
           json_build_object(
               'type', 'run.' || NEW.status,
               'timestamp', to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'data', json_build_object('run_id', NEW.run_id, 'thread_id', NEW.thread_id, 'agent', NEW.agent, 'status', NEW.status,
                                         'attempt', NEW.attempt, 'metadata', r.metadata, 'error', r.error, 'waiting_for', waits.kinds))::text
    FROM runs r
    LEFT JOIN LATERAL (SELECT json_agg(DISTINCT k.kind) AS kinds FROM waits k
                       WHERE NEW.status = 'waiting' AND k.run_id = NEW.run_id AND k.suspended AND k.done_at IS NULL) waits ON true
    CROSS JOIN LATERAL (
        SELECT t.id AS webhook_id, t.url, NULL::text AS secret FROM webhooks t
        WHERE t.tenant_id = NEW.tenant_id AND 'run.' || NEW.status = ANY (t.events)
        UNION ALL
        SELECT NULL, r.webhook ->> 'url', r.webhook ->> 'secret'
        WHERE r.webhook -> 'events' ? ('run.' || NEW.status)
          AND r.webhook ->> 'url' IS NOT NULL AND r.webhook ->> 'secret' IS NOT NULL
    ) w
    WHERE r.id = NEW.run_id;
    RETURN NULL;
END $$;
CREATE TRIGGER change_told AFTER INSERT ON changes FOR EACH ROW WHEN (NOT NEW.cancelling) EXECUTE FUNCTION change_delivered();
