-- What a run's suspended attempts had shown outside of steps, in order. $1 run
SELECT attempt, shown_text, finish_id, last_event_id, emits FROM attempts
WHERE run_id = $1 AND ended_why = 'waiting' ORDER BY attempt
