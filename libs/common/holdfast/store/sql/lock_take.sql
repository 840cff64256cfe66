-- A session's advisory lock made from a boot: while it is held, the boot's link to Postgres is whole. Shared, so that a boot which
-- reconnects holds it again at once, though the server may not have noticed yet that its old session is gone.
SELECT pg_try_advisory_lock_shared($1) AS taken
