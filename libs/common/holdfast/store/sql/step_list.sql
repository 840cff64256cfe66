-- A run's journal, in order.
SELECT position, kind, name, input_hash, status, tries, attempt, output, error, shown_text, last_event_id, started_at, finished_at
FROM steps WHERE run_id = $1 ORDER BY step_order(position)
