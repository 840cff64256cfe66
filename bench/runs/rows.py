"""What the rounds have shown, as rows of the report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.figures import Row, quantile, ratios, spread
from bench.runs.system import Taken

OURS = "Holdfast"
FOLLOWED = "Holdfast, each run followed"
_TO_BE_AHEAD_OF = ("procrastinate", "DBOS")
_P50_MAX_MS, _P99_MAX_MS = 10.0, 30.0

Turns = dict[tuple[int, str], list[Taken]]
"""(workers, system) -> what it has shown, round by round."""


def rows(workers: int, turns: Turns, versions: Mapping[str, str]) -> list[Row]:
    """What is stated of one number of workers: ours, each peer beside ours, and where the computing time goes."""
    of = {system: turns[workers, system] for system in (OURS, FOLLOWED, *versions)}
    head = f"{workers} runner{'s'[: workers > 1]}"
    rates = {system: [one.rate for one in taken] for system, taken in of.items()}
    bars = tuple((system, round(statistics.median(each), 1)) for system, each in rates.items())
    return [
        Row(
            f"{head}: no-op runs, submit to durable end", _pace(of[OURS]), "told", holds=True, bars=bars, unit="jobs/s"
        ),
        Row(f"{head}: the same, each run's events read by a client", _pace(of[FOLLOWED]), "told", holds=True),
        *(_beside(head, peer, versions[peer], of) for peer in versions),
        Row(f"{head}: µs of computing time per job", _costs(of), "told", holds=True),
    ]


def _beside(head: str, peer: str, version: str, of: Mapping[str, Sequence[Taken]]) -> Row:
    """Ours in a peer's, round by round."""
    theirs_rate = [one.rate for one in of[peer]]
    beside = ratios([one.rate for one in of[OURS]], theirs_rate)
    followed = ratios([one.rate for one in of[FOLLOWED]], theirs_rate)
    figure = (
        f"{spread(beside, '.3g')}; with each run's events read by a client {spread(followed, '.3g')}; "
        f"{peer} {version}: {_pace(of[peer])}"
    )
    if peer in _TO_BE_AHEAD_OF:
        return Row(f"{head}: runs/s ÷ jobs/s of {peer}", figure, "> 1", statistics.median(beside) > 1)
    ours, theirs = _each(of[OURS]), _each(of[peer])
    figure += (
        f"; it is {1 / statistics.median(beside):,.0f} times as fast: a run takes {sum(ours.values()):,.0f} µs of computing "
        f"({_parts(ours)}), a job of its {sum(theirs.values()):,.0f} µs ({_parts(theirs)})"
    )
    return Row(f"{head}: runs/s ÷ jobs/s of {peer}", figure, "told", holds=True)


def _pace(taken: Sequence[Taken]) -> str:
    submitted = statistics.median(one.submit_rate for one in taken)
    drained = [one.drain_rate for one in taken if one.drain_rate is not None]
    after = f", drained at {statistics.median(drained):,.0f}/s after the last submit" if drained else ""
    return f"{spread([one.rate for one in taken])} (submitted at {submitted:,.0f}/s{after})"


def _costs(of: Mapping[str, Sequence[Taken]]) -> str:
    each = {system: _each(taken) for system, taken in of.items()}
    return "; ".join(f"{system} {sum(parts.values()):,.0f} = {_parts(parts)}" for system, parts in each.items())


def _each(taken: Sequence[Taken]) -> dict[str, float]:
    return {part: statistics.median(one.each_us()[part] for one in taken) for part in taken[0].used}


def _parts(each: Mapping[str, float]) -> str:
    return ", ".join(f"{part} {us:,.0f}" for part, us in each.items())


def latency_row(what: str, measured_ms: Sequence[float], *, wanted: bool) -> Row:
    """Median and p99 of times in milliseconds, beside what an idle system may take."""
    p50, p99 = statistics.median(measured_ms), quantile(measured_ms, 0.99)
    figure = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {max(measured_ms):.1f} ms of {len(measured_ms)}"
    bars = (("Holdfast p50", round(p50, 2)), ("Holdfast p99", round(p99, 2)))
    if not wanted:
        return Row(what, figure, "told", holds=True, bars=bars, unit="ms")
    limits = (("p50 limit", _P50_MAX_MS), ("p99 limit", _P99_MAX_MS))
    holds = p50 <= _P50_MAX_MS and p99 <= _P99_MAX_MS
    text = f"p50 ≤ {_P50_MAX_MS:g} ms, p99 ≤ {_P99_MAX_MS:g} ms"
    return Row(what, figure, text, holds, bars=(bars[0], limits[0], bars[1], limits[1]), unit="ms")
