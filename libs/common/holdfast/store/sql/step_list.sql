-- A run's journal, in order.
SELECT position, kind, name, input_hash, status, tries, attempt, output, error, shown_text, last_event_id, started_at, finished_at,
       call_id, input, code_version, timeout_s, errors, recorded, emits, coalesce(finish_id, last_event_id) AS finish_id, told
FROM steps WHERE run_id = $1 ORDER BY step_order(position)
