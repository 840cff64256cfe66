-- Has a run a step at this position? $1 run, $2 position
SELECT position FROM steps WHERE run_id = $1 AND position = $2
