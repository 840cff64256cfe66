-- A page of a run's journal, in order. $1 run, $2 after this position ('-1': from the first), $3 at most
SELECT position, kind, name, input_hash, status, tries, attempt, output, error, shown_text, last_event_id, started_at, finished_at,
       call_id, input, code_version, timeout_s, errors, recorded, emits, coalesce(finish_id, last_event_id) AS finish_id, told
FROM steps WHERE run_id = $1 AND step_order(position) > step_order($2) ORDER BY step_order(position) LIMIT $3
