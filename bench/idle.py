"""What a system costs that has nothing to do: computing time and memory of each process, over half a minute.

Two gateways, four runners and two reapers with default settings, as processes of their own; agents are warm. Postgres and NATS
are told apart, since what they do here is the services' doing too. Nothing is submitted and nobody watches.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.figures import Case, Row, Say
from tests.support.stack import Stack

GATEWAYS, RUNNERS, REAPERS = 2, 4, 2
CORE_MAX = 0.05
RESIDENT_MAX_BYTES = 120 * 1024 * 1024
_WINDOW_S = 30.0
_SETTLING_WINDOW_S = 3.0
_SETTLED_WITHIN = 0.25  # two windows in a row that differ by less than this part of themselves
_SETTLING_WINDOWS_MAX = 20
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_ROLES = ("gateway", "runner", "reaper")


async def idle(rounds: int, say: Say) -> list[Row]:
    """That system, looked at for half a minute in each round."""
    async with Stack({"HOLDFAST_LOG_LEVEL": "info", "HOLDFAST_WARM_UP": "true"}) as stack:
        await stack.start(gateways=GATEWAYS, runners=RUNNERS, reapers=REAPERS)
        await _settled(stack)
        looks = []
        for number in range(rounds):
            looks.append(await _look(stack))
            say(f"look {number + 1} of {rounds}: {looks[-1].of_core(*_ROLES):.1%} of a core in all")
        held = {name: Held.of(service.pid) for name, service in stack.services.items() if service.pid is not None}
    look = sorted(looks, key=lambda each: each.of_core(*_ROLES))[len(looks) // 2]
    return [*_computing(look), *_memory(held)]


@dataclass(frozen=True)
class Look:
    """Computing time by process, in seconds, over a span of time."""

    seconds: float
    spent_s: dict[str, float]

    def of_core(self, *prefixes: str) -> float:
        """The part of one core that these processes used."""
        return sum(spent for name, spent in self.spent_s.items() if name.startswith(prefixes)) / self.seconds


@dataclass(frozen=True)
class Held:
    """Memory of a process in bytes: all that is resident, and its share of it where processes share pages."""

    resident: int
    proportional: int

    @staticmethod
    def of(pid: int) -> Held:
        """From the kernel's own sums."""
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib = {name.rstrip(":"): int(value) for name, value, *_ in (line.split() for line in lines[1:])}
        return Held(kib["Rss"] * 1024, kib["Pss"] * 1024)


def spent_s(pid: int) -> float:
    """Computing time of a process and of its ended children so far, in seconds; a tick of the kernel is 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICK_S


def _spent(stack: Stack) -> dict[str, float]:
    spent = {name: spent_s(service.pid) for name, service in stack.services.items() if service.pid is not None}
    assert stack.postgres.pid is not None
    assert stack.nats.pid is not None
    backends = psutil.Process(stack.postgres.pid).children(recursive=True)
    spent["postgres"] = sum(spent_s(pid) for pid in [stack.postgres.pid, *(each.pid for each in backends)])
    spent["nats"] = spent_s(stack.nats.pid)
    return spent


async def _look(stack: Stack, *, window_s: float = _WINDOW_S) -> Look:
    before, began = _spent(stack), time.monotonic()
    await asyncio.sleep(window_s)
    after, ended = _spent(stack), time.monotonic()
    return Look(ended - began, {name: after[name] - before.get(name, 0.0) for name in after})


async def _settled(stack: Stack) -> None:
    """Wait until a start's own work (imports of agents, first connections) is over."""
    before = float("inf")
    for _ in range(_SETTLING_WINDOWS_MAX):
        now = (await _look(stack, window_s=_SETTLING_WINDOW_S)).of_core(*_ROLES)
        if abs(now - before) <= _SETTLED_WITHIN * now:
            return
        before = now
    raise RuntimeError("the system does not come to rest")


def _computing(look: Look) -> list[Row]:
    services = look.of_core(*_ROLES)
    counts = dict(zip(_ROLES, (GATEWAYS, RUNNERS, REAPERS), strict=True))
    parts = ", ".join(f"{counts[role]} {role}s {look.of_core(role):.2%}" for role in _ROLES)
    what = f"computing of an idle system ({GATEWAYS} gateways, {RUNNERS} runners, {REAPERS} reapers), of one core"
    servers = f"{look.of_core('postgres'):.2%} and {look.of_core('nats'):.2%}"
    return [
        Row(what, f"{services:.2%} ({parts})", f"< {CORE_MAX:.0%}", services < CORE_MAX),
        Row("the same of Postgres and of NATS", servers, "told", holds=True),
    ]


def _memory(held: dict[str, Held]) -> list[Row]:
    rows = []
    for role in _ROLES:
        of_role = [each for name, each in held.items() if name.startswith(role)]
        resident = max(each.resident for each in of_role)
        share = max(each.proportional for each in of_role)
        figure = f"{resident / 2**20:.0f} MiB, of which its own share {share / 2**20:.0f} MiB"
        rows.append(
            Row(
                f"memory of an idle {role}, the largest of {len(of_role)}",
                figure,
                f"< {RESIDENT_MAX_BYTES / 2**20:.0f} MiB",
                resident < RESIDENT_MAX_BYTES,
                timed=False,
            )
        )
    return rows


CASES = {"idle": Case(idle, 1)}
