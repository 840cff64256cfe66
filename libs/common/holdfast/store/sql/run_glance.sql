-- Why was a run not to be had? Read after a claim that matched no row.
SELECT status, agent, pool FROM runs WHERE id = $1
