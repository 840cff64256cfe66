"""What was measured, case by case: kept in ``report.json``, so that one can be measured again, and shown as ``report.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.figures import OTHERS_MAX, Row


@dataclass(frozen=True, slots=True)
class Measured:
    """One case, as it was measured last. ``others_before`` and ``others``: the share of the machine that other processes took in
    a moment before, and while it was measured."""

    at: str
    took_s: float
    rounds: int
    seed: int
    machine: str
    load: float
    others_before: float
    others: float
    rows: tuple[Row, ...]

    @property
    def noise(self) -> float:
        """What its rows are judged by."""
        return max(self.others_before, self.others)


Results = Mapping[str, Measured]


def read(path: Path) -> dict[str, Measured]:
    """What is kept; nothing when there is no such file.

    Raises:
        ValueError: it is not what :func:`written` writes: broken, or another release's.
    """
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: _measured(each) for name, each in kept.items()}
    except (ValueError, TypeError, LookupError, AttributeError) as wrong:
        raise ValueError(f"{path.name} cannot be read; move it out of the way to begin anew ({wrong})") from wrong


def _measured(kept: dict[str, object]) -> Measured:
    rows = kept.pop("rows")
    assert isinstance(rows, list)
    return Measured(**kept, rows=tuple(_row(**row) for row in rows))  # type: ignore[arg-type]  # as `written` has them


def _row(bars: Sequence[tuple[str, float]], **rest: object) -> Row:
    return Row(**rest, bars=tuple((label, figure) for label, figure in bars))  # type: ignore[arg-type]


def written(results: Results) -> str:
    """As kept."""
    return json.dumps({name: asdict(each) for name, each in results.items()}, indent=1, ensure_ascii=False) + "\n"


def with_new(kept: Results, name: str, measured: Measured, order: Sequence[str]) -> dict[str, Measured]:
    """What is kept with one case measured anew. A case that is no more (it is not in ``order``) is forgotten."""
    now = {**kept, name: measured}
    return {each: now[each] for each in order if each in now}


def report(results: Results) -> str:
    """As a page of Markdown: a table for each case, below what it was measured with."""
    return "\n".join(
        [
            "# Report",
            "",
            "Written by `make bench`; `make bench ONLY=<case>` measures one case again and leaves the others as they are.",
            f"A row is *noisy*, neither good nor bad, when other processes took more than {OTHERS_MAX:.0%} of the machine.",
            *(line for name, measured in results.items() for line in _section(name, measured)),
            "",
        ]
    )


def _section(name: str, measured: Measured) -> list[str]:
    return [
        "",
        f"## {name}",
        "",
        f"{measured.at}, {measured.rounds} rounds in {measured.took_s:,.0f} s, seed {measured.seed}. Others took "
        f"{measured.others_before:.0%} of the machine before and {measured.others:.0%} during it; load at the end "
        f"{measured.load:.1f}. {measured.machine}.",
        "",
        *table(measured),
    ]


def table(measured: Measured) -> list[str]:
    """Its rows."""
    head = ["| what | measured | wanted | holds |", "|---|---|---|---|"]
    return head + [row.line(measured.noise) for row in measured.rows]


def failed(measured: Measured) -> bool:
    """Whether something is surely not as it should be."""
    return any(row.verdict(measured.noise) == "no" for row in measured.rows)
