"""Killing a run's owner at a named boundary of a named step, once; and what comes of it, beside a run that nobody killed."""
