"""Which run a tool works for: an agent's own functions are called by pydantic_ai, which knows nothing of runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from holdfast_agent.run import Run

_current: ContextVar[Run | None] = ContextVar("holdfast_current_run", default=None)


def current_run() -> Run:
    """The run that the caller works for, in a tool, an instructions function or a validator of a durable agent.

    In a tool, ``current_run().idempotency_key`` is the same at every try and attempt of the call.

    Raises:
        RuntimeError: outside any run.
    """
    run = _current.get()
    if run is None:
        raise RuntimeError("there is no run here: current_run() is for what a durable agent calls")
    return run


@contextmanager
def working_for(run: Run) -> Iterator[None]:
    """Within, also in tasks and threads started there, :func:`current_run` is this run."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)
