"""All that ``make bench`` can measure, by name, and which of it somebody wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from bench import growth, idle, recovery, start, steps, waiting
from bench.figures import Case
from bench.runs.cases import CASES as RUNS
from bench.streams import measure as streams
from bench.streams.cases import CASES as CROWDS


def all_cases() -> dict[str, Case]:
    """Name -> case, in the order of the report."""
    return {
        **RUNS,
        **{name: Case(partial(streams.measure, crowd), 5) for name, crowd in CROWDS.items()},
        **recovery.CASES,
        **steps.CASES,
        **waiting.CASES,
        **growth.CASES,
        **start.CASES,
        **idle.CASES,
    }


def chosen(cases: Mapping[str, Case], wanted: Iterable[str]) -> dict[str, Case]:
    """Those named, or below a name (``recovery`` has ``recovery.kill``), in their own order; all when nothing is named.

    Raises:
        LookupError: a name fits none; the message says what there is.
    """
    names = [name for text in wanted for name in text.split(",") if name]
    for name in names:
        if not any(_fits(each, name) for each in cases):
            raise LookupError(f"nothing is called {name}; there are: {', '.join(cases)}")
    return {each: case for each, case in cases.items() if not names or any(_fits(each, name) for name in names)}


def _fits(case: str, name: str) -> bool:
    return case == name or case.startswith(f"{name}.")
