"""How a peer's program is called, and what it says to whoever started it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import NoReturn

READY = "ready"


def ready() -> None:
    """A worker is about to take jobs."""
    print(READY, flush=True)


class Submitting:
    """``with Submitting():`` around all submits: says on one line of JSON when they began and ended (CLOCK_MONOTONIC), and what
    computing time this process has used in between."""

    def __enter__(self) -> None:
        self._first_ns, self._cpu_s = time.monotonic_ns(), time.process_time()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            used_s = time.process_time() - self._cpu_s
            told = {"first_ns": self._first_ns, "last_ns": time.monotonic_ns(), "cpu_s": used_s}
            print(json.dumps(told), flush=True)


def main(
    *, prepare: Callable[[str], object], work: Callable[[str], object], submit: Callable[[str, int], object]
) -> NoReturn:
    """Do what the command line says."""
    what, url, *jobs = sys.argv[1:]
    if what == "submit":
        submit(url, int(jobs[0]))
    else:
        {"prepare": prepare, "work": work}[what](url)
    sys.exit(0)
