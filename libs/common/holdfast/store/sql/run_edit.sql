-- Change a queued run's input. Guarded: a claim at the same time either takes the new input, or comes first and this matches nothing. A
-- run that was claimed before has told its input, and a fork has a journal made from it: both are left alone.
-- $1 tenant, $2 thread, $3 run, $4 input
UPDATE runs SET input = $4::jsonb
WHERE tenant_id = $1 AND thread_id = $2 AND id = $3 AND status = 'queued' AND claimed_at IS NULL AND forked_from IS NULL
RETURNING *
