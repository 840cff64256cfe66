"""How much of what could be tried a run of the tests tries: all of it with ``SLOW=1``, else a quarter (``tests/conftest.py``)."""

from __future__ import annotations

import os

SLOW = "SLOW"
SLOW_DEFAULT = 0.25
_EXAMPLES_MIN = 10


def fraction() -> float:
    """The part that is tried, 0 to 1."""
    return min(1.0, max(0.0, float(os.environ.get(SLOW) or SLOW_DEFAULT)))


def examples(whole: int) -> int:
    """How many random examples a property is tried with, of ``whole``. They are others each time."""
    return max(_EXAMPLES_MIN, round(whole * fraction()))
