"""How long a start takes, files being in the system's cache: the command's help, each service until it is ready, a runner until
its first claim, ``holdfast up`` until everything is.

Wall time from exec, and beside it the computing time until then, which other work on the machine does not lengthen as much.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Case, Row, Say
from bench.idle import spent_s
from holdfast_local.ports import free_ports
from tests.support.stack import Stack
from tests.support.wait import wait_until

HELP_MAX_S = 0.3
CLAIM_MAX_S = 1.5
READY_MAX_S = 1.5
_HELP_ROUNDS = 10
_UP_TIMEOUT_S = 60.0


async def start(rounds: int, say: Say) -> list[Row]:
    """All of it: the help, then rounds of every service, then ``holdfast up``."""
    helps = [_run_to_end(["--help"]) for _ in range(_HELP_ROUNDS + 1)][1:]  # the first fills the cache
    say(f"help: {statistics.median(wall for wall, _ in helps):.2f} s")
    rows = [_row("`holdfast --help`", helps, HELP_MAX_S)]
    claims: list[tuple[float, float]] = []
    ready: dict[str, list[tuple[float, float]]] = {"gateway": [], "reaper": [], "runner": []}
    async with Stack({"HOLDFAST_LOG_LEVEL": "info", "HOLDFAST_WARM_UP": "true"}) as stack:
        await stack.add("gateway", "gateway-1")
        for number in range(rounds + 1):
            for kind, measured in ready.items():
                measured.append(await _until_ready(stack, kind, number))
            claims.append(await _until_claim(stack, number))
            say(
                f"round {number} of {rounds}: runner to first claim {claims[-1][0]:.2f} s"
                + " (not counted)" * (not number)
            )
    rows.append(_row("a runner, exec to its first claim", claims[1:], CLAIM_MAX_S))
    rows += [_row(f"a {kind}, exec to ready", measured[1:], READY_MAX_S) for kind, measured in ready.items()]
    ups = [await _up() for _ in range(rounds)]
    say(f"up: {statistics.median(ups):.2f} s")
    spread = f"median {statistics.median(ups):.2f} s, worst {max(ups):.2f} s of {len(ups)}"
    return [*rows, Row("`holdfast up` in an empty folder until everything is ready", spread, "told", holds=True)]


def _row(what: str, measured: Sequence[tuple[float, float]], median_max_s: float) -> Row:
    walls, spent = zip(*measured, strict=True)
    median = statistics.median(walls)
    figure = f"median {median:.2f} s, worst {max(walls):.2f} s of {len(walls)}; {statistics.median(spent):.2f} s of computing"
    return Row(what, figure, f"median < {median_max_s:g} s", median < median_max_s)


def _run_to_end(arguments: Sequence[str]) -> tuple[float, float]:
    """(wall, computing) of one call of the command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run([_command(), *arguments], check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _command() -> str:
    return str(Path(sys.executable).with_name("holdfast"))


async def _until_ready(stack: Stack, kind: str, number: int) -> tuple[float, float]:
    """One process more of a kind, until its readiness endpoint says so."""
    name = f"{kind}-ready-{number}"
    began = time.monotonic()
    service = await stack.add(kind, name, ready=False)
    await service.until_ready()
    took = time.monotonic() - began
    assert service.pid is not None
    spent = spent_s(service.pid)
    await service.stop()
    return took, spent


async def _until_claim(stack: Stack, number: int) -> tuple[float, float]:
    """The only runner, with one run queued. The record says when it was claimed; both clocks are this machine's."""
    run = await stack.submit("Hello.", agent="echo")
    began = datetime.now(UTC)
    service = await stack.add("runner", f"runner-{number}", ready=False)
    attempts: list[dict[str, str]] = []

    async def claimed() -> bool:
        answer = await stack.http.get(f"{stack.url()}/v1/runs/{run['id']}/attempts")
        attempts[:] = answer.json()["items"]
        return bool(attempts)

    await wait_until(claimed, description="the run is claimed")
    assert service.pid is not None
    spent = spent_s(service.pid)
    await stack.until_status(run["id"], "completed")
    await service.stop()
    return (datetime.fromisoformat(attempts[0]["started_at"]) - began).total_seconds(), spent


@contextmanager
def _folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="holdfast-up-") as folder:
        Path(folder).chmod(0o711)  # Postgres may run as another user
        yield folder


async def _up() -> float:
    """``holdfast up`` with the defaults in a folder of its own, until it says that it is up; then it is stopped."""
    with _folder() as folder:
        port = free_ports(1)[0]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            _command(), "up", "--data", folder, "--port", str(port), stdout=subprocess.PIPE, env=env
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_UP_TIMEOUT_S):
                while b"holdfast is up" not in (line := await process.stdout.readline()):
                    assert line, "holdfast up has ended"
            took = time.monotonic() - began
        finally:
            process.terminate()
            await process.communicate()
    return took


CASES = {"start": Case(start, 5)}
