-- Plan each statement once. Left to choose, the server plans those that take arrays anew at each call: it knows the arrays then, and
-- reckons with longer ones otherwise, so that a plan for any arguments looks the dearer one. Planning was half of what a run cost.
-- Set here and not in the connection's start packet, which a pooler may refuse.
SELECT set_config('plan_cache_mode', 'force_generic_plan', false)
