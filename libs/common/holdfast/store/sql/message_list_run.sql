-- What a run has said and was asked, in order; not what a fork's history was copied from. $1 run
SELECT id, run_id, seq, role, parts, status, created_at, NULL::uuid AS replaced_by FROM messages WHERE run_id = $1 AND NOT copied ORDER BY seq
