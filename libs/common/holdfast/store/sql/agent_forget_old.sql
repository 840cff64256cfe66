-- Forget the agents of pods that have not been seen for $1 seconds.
DELETE FROM agents WHERE seen_at < now() - make_interval(secs => $1)
