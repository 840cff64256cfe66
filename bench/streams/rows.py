"""What a round has measured, and how rounds become rows of the report."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.figures import Row, spread
from bench.streams.cases import PACED_S, Case
from bench.streams.meter import Used

_CROWD_MIN = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """What one round has measured of one server. ``latencies_ns`` from append to a viewer's socket."""

    connect_s: float
    connect_cpu_s: float
    refused: int
    bytes_per_viewer: float
    latencies_ns: list[int]
    paced: Used
    calmly_delivered: int
    flood: Used
    delivered: int
    exact: bool

    @property
    def rate(self) -> float:
        """Delivered events per second."""
        return self.delivered / self.flood.wall_s

    @property
    def cost_us(self) -> float:
        """Microseconds of computing time for each delivered event, of many: what gathers goes together."""
        return self.flood.cpu_s / self.delivered * 1e6

    @property
    def calm_cost_us(self) -> float:
        """The same while each event comes alone."""
        return self.paced.cpu_s / self.calmly_delivered * 1e6


def in_short(one: Taken) -> str:
    """One round of one server, on a line."""
    return (
        f"{one.rate:,.0f} events/s at {one.cost_us:.1f} µs (alone {one.calm_cost_us:.1f} µs; others took "
        f"{one.flood.by_others:.0%} of the machine), append → socket {_percentiles([one])}, "
        f"{one.bytes_per_viewer / 1024:.1f} KiB a viewer, connected in {one.connect_s:.2f} s "
        f"({one.connect_cpu_s:.2f} s computing, {one.refused} refused)"
    )


def _percentiles(taken: list[Taken]) -> str:
    latencies = sorted(each for one in taken for each in one.latencies_ns)
    p99 = latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))]
    return f"median {statistics.median(latencies) / 1e6:.1f} ms, p99 {p99 / 1e6:.1f} ms"


def rows(case: Case, gateway: list[Taken], bare: list[Taken]) -> list[Row]:
    """What is stated: medians over rounds; a ratio is of the two in one round. All events must have come, each once."""
    exact = all(one.exact for one in (*gateway, *bare))
    pairs = list(zip(gateway, bare, strict=True))
    flooded = [ours.cost_us / least.cost_us for ours, least in pairs]
    calm = [ours.calm_cost_us / least.calm_cost_us for ours, least in pairs]
    shares = [ours.rate / least.rate for ours, least in pairs]
    p50_ms = _median(gateway, lambda one: statistics.median(one.latencies_ns)) / 1e6
    shown = [
        Row(
            f"{case.name}: as fast as it goes",
            f"{_speed(gateway)}; bare loop {_speed(bare)}; delivered/s / bare loop's: {_spread(shares)}; "
            f"computing time / bare loop's: {_spread(flooded)}",
            f"≥ {case.share_min:g} of the bare loop's" if case.share_min is not None else "told",
            case.share_min is None or statistics.median(shares) >= case.share_min,
            bars=(
                ("Holdfast", round(_median(gateway, lambda one: one.rate))),
                ("bare loop", round(_median(bare, lambda one: one.rate))),
            ),
            unit="events/s",
        ),
        Row(
            f"{case.name}: one event at a time, {case.paced * case.each / PACED_S:,.0f} delivered/s",
            f"append → socket {_percentiles(gateway)}, {_calm(gateway)}; bare loop {_percentiles(bare)}, {_calm(bare)}; "
            f"computing time / bare loop's: {_spread(calm)}",
            f"median ≤ {case.p50_max_ms:g} ms" if case.p50_max_ms is not None else "told",
            case.p50_max_ms is None or p50_ms <= case.p50_max_ms,
        ),
        Row(
            f"{case.name}: each event came once, in order, to each viewer",
            "yes" if exact else "no",
            "yes",
            exact,
            timed=False,
        ),
    ]
    if case.viewers >= _CROWD_MIN:  # of few the allocator's steps are all that is to be seen
        shown.append(
            Row(
                f"{case.name}: memory, connecting",
                f"{_median(gateway, lambda one: one.bytes_per_viewer / 1024):.1f} KiB a viewer, {_connect(gateway)}; bare loop "
                f"{_median(bare, lambda one: one.bytes_per_viewer / 1024):.1f} KiB, {_connect(bare)}",
                "no target",
                True,
            )
        )
    return shown


def _median(taken: list[Taken], of: Callable[[Taken], float]) -> float:
    return statistics.median(of(one) for one in taken)


def _spread(ratios: list[float]) -> str:
    return spread(ratios, ".2f")


def _speed(taken: list[Taken]) -> str:
    share = _median(taken, lambda one: one.flood.cpu_s / one.flood.wall_s)
    rate, cost = _median(taken, lambda one: one.rate), _median(taken, lambda one: one.cost_us)
    return f"{rate:,.0f} delivered/s at {share:.2f} of a core, {cost:.1f} µs each"


def _calm(taken: list[Taken]) -> str:
    return f"{_median(taken, lambda one: one.calm_cost_us):.1f} µs each"


def _connect(taken: list[Taken]) -> str:
    wall, cpu = _median(taken, lambda one: one.connect_s), _median(taken, lambda one: one.connect_cpu_s)
    refused = sum(one.refused for one in taken)
    return f"all connected in {wall:.2f} s ({cpu:.2f} s of computing, {refused} tries refused)"
