"""Words for people: tables with aligned columns, ages, and text made safe for a terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_GAP = "  "
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def printable(text: str, *, keep: str = "") -> str:
    """Without control characters, which would move a terminal's cursor or worse; those in ``keep`` stay, line ends are blanks."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else " " if found[0] in "\n\t" else "", text)


def table(titles: Sequence[str], rows: Sequence[Sequence[object]], *, indent: str = "") -> list[str]:
    """Lines with aligned columns, the titles first. None is shown as a dash."""
    cells = [list(titles)] + [["-" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        indent + _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def duration(seconds: float) -> str:
    """``340ms``, ``3.1s``, ``47s``, ``5m 2s``, ``3h 20m``, ``2d 4h``."""
    milliseconds = max(round(seconds * 1000), 0)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 9950:
        return f"{milliseconds / 1000:.1f}s"
    return _whole(round(milliseconds / 1000))


def _whole(seconds: int) -> str:
    for (size, unit), (smaller, smaller_unit) in pairwise(_UNITS):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // smaller}{smaller_unit}"
    return f"{seconds}s"


def age(timestamp: str | None, now: datetime | None = None) -> str | None:
    """How long ago an ISO 8601 time was: ``3s ago``. None stays None; a time to come is ``now``: clocks differ."""
    if timestamp is None:
        return None
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(timestamp)).total_seconds())
    return "now" if seconds < 1 else f"{_whole(seconds)} ago"


def between(start: str | None, end: str | None) -> str | None:
    """How long from one ISO 8601 time to another; None when one is missing."""
    if start is None or end is None:
        return None
    return duration((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
