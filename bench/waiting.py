"""Runs that wait: what they hold in runners, Postgres and NATS while they do, and how soon all go on that are woken at once.

Two runners. In each round 1,000 runs wait for an answer, then 1,000 for a point of time. What is held is the difference between
a system in which they wait and the same one before. The round before the first is not counted: by then everything is imported,
and memory that such a crowd passes through has been asked for once.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from bench.figures import Case, Row, Say, seconds
from tests.support.stack import Stack
from tests.support.wait import wait_until

_WAITING = 1000
_AT_ONCE = 16
_RUNNERS = ("runner-1", "runner-2")
_AGENTS = str(Path(__file__).with_name("waiting_agents.py"))
_PATIENCE_S = 120.0
_GRACE_S = 5.0
_BYTES_EACH_MAX = 1000  # memory is told in pages, and Python asks for it by the quarter MiB
_LEEWAY = 10  # a task of a runner may end just now; one for each run would be a thousand
_OBJECTS_EACH_MAX = 0.1  # what is at work just now has a few; a run that held any would have one
_LOOKS = 3  # at each runner, one after the other: what is at work just now only adds, so that the least is what is held
_LOOKS_IN_ALL_MAX = 60
_CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
_WITH_STATUS = "SELECT count(*) FROM runs WHERE id = ANY($1::uuid[]) AND status = $2"
_QUESTIONS = "SELECT run_id, id FROM waits WHERE run_id = ANY($1::uuid[])"
_LAST_END = "SELECT extract(epoch FROM max(finished_at))::float8 FROM runs WHERE id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class Held:
    """What the two runners hold together, and who is connected to the servers."""

    resident_kib: float
    objects: int
    tasks: int
    threads: int
    postgres_connections: int
    nats_connections: int
    nats_subscriptions: int

    def beyond(self, before: Held) -> dict[str, float]:
        """What it is more than before, by name."""
        return {each.name: getattr(self, each.name) - getattr(before, each.name) for each in fields(self)}


class _System:
    """A stack with two runners, and the record."""

    def __init__(self, stack: Stack, record: asyncpg.Connection) -> None:
        self._stack = stack
        self._record = record

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        answer = await self._stack.http.post(f"{self._stack.url()}/v1{path}", json=body)
        answer.raise_for_status()
        return dict(answer.json())

    async def submit(self, agent: str, run_input: Any) -> list[str]:
        """So many runs that wait; returns when all of them do."""
        one = {"agent": agent, "input": run_input}
        runs = await _gather(self.post("/runs", one) for _ in range(_WAITING))
        ids = [run["id"] for run in runs]
        await self._until(ids, "waiting")
        return ids

    async def _until(self, ids: list[str], status: str) -> None:
        async def reached() -> bool:
            await asyncio.sleep(0.02)  # the record is to be measured, not to be asked all the time
            return bool(await self._record.fetchval(_WITH_STATUS, ids, status) == len(ids))

        await wait_until(reached, description=f"{len(ids)} runs are {status}", timeout_s=_PATIENCE_S)

    async def last_end(self, ids: list[str]) -> float:
        """When the last of them was completed, in seconds since 1970, once all are."""
        await self._until(ids, "completed")
        return float(await self._record.fetchval(_LAST_END, ids))

    async def answer_all(self, ids: list[str]) -> None:
        questions = await self._record.fetch(_QUESTIONS, ids)
        assert len(questions) == len(ids)
        await _gather(
            self.post(f"/runs/{each['run_id']}/answer", {"question_id": str(each["id"]), "answer": "this"})
            for each in questions
        )

    async def held(self) -> Held:
        """What is held now. Asking costs a few runs, which are over by then."""
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in _RUNNERS}
        for _ in range(_LOOKS_IN_ALL_MAX):  # whoever is free takes it
            run = await self.post("/runs", {"agent": "census", "input": {}})
            output = (await self._stack.until_status(run["id"], "completed"))["output"]
            told[output["pod"]].append(output)
            if min(map(len, told.values())) >= _LOOKS:
                break
        else:
            raise RuntimeError("one of the runners takes no runs")
        processes = [psutil.Process(self._stack.services[name].pid) for name in _RUNNERS]
        connections = (await self._stack.http.get(f"{self._stack.nats.monitor_url}/varz")).json()
        return Held(
            resident_kib=sum(process.memory_info().rss for process in processes) / 1024,
            objects=sum(min(each["objects"] for each in looks) for looks in told.values()),
            tasks=sum(min(each["tasks"] for each in looks) for looks in told.values()),
            threads=sum(process.num_threads() for process in processes),
            postgres_connections=await self._record.fetchval(_CLIENTS),
            nats_connections=connections["connections"],
            nats_subscriptions=connections["subscriptions"],
        )


async def waiting_runs(rounds: int, say: Say) -> list[Row]:
    """See the module."""
    more: dict[str, list[float]] = {each.name: [] for each in fields(Held)}
    answered: list[float] = []
    timed: list[float] = []
    async with Stack() as stack:
        await stack.start(runners=0)
        for name in _RUNNERS:
            await stack.add("runner", name, {"HOLDFAST_AGENTS": _AGENTS})
        record = await asyncpg.connect(stack.postgres.url)
        system = _System(stack, record)
        for number in range(rounds + 1):
            before = await system.held()
            began = time.monotonic()
            ids = await system.submit("asks", {})
            submit_s = time.monotonic() - began
            beyond = (await system.held()).beyond(before)
            woken = time.time()
            await system.answer_all(ids)
            answers_s = await system.last_end(ids) - woken
            due = time.time() + 1.5 * submit_s + _GRACE_S
            ids = await system.submit("sleeps", {"until": due})
            assert time.time() < due, "the timers were due before all were waiting: the machine is too busy"
            timers_s = await system.last_end(ids) - due
            told = ", ".join(f"{name} {value:+.0f}" for name, value in beyond.items())
            say(
                f"{number} of {rounds}: answered {answers_s:.2f} s, timers {timers_s:.2f} s, submit {submit_s:.1f} s; {told}"
            )
            if number:
                answered.append(answers_s)
                timed.append(timers_s)
                for name, value in beyond.items():
                    more[name].append(value)
        await record.close()
    return [*_held_rows(more), *_woken_rows(answered, timed)]


def _held_rows(more: dict[str, list[float]]) -> list[Row]:
    counted = {name: statistics.median(values) for name, values in more.items()}
    bytes_each = counted.pop("resident_kib") * 1024 / _WAITING
    objects = counted.pop("objects")
    listed = ", ".join(f"{name.replace('_', ' ')} {value:+.0f}" for name, value in counted.items())
    return [
        Row(
            f"memory of both runners for each of {_WAITING:,} runs that wait",
            f"median {bytes_each:+.0f} bytes ({objects:+.0f} objects in all)",
            f"≤ {_BYTES_EACH_MAX} bytes, ≤ {_OBJECTS_EACH_MAX * _WAITING:.0f} objects in all",
            bytes_each <= _BYTES_EACH_MAX and objects <= _OBJECTS_EACH_MAX * _WAITING,
            timed=False,
        ),
        Row(
            f"what there is more of with {_WAITING:,} runs that wait",
            f"median {listed}",
            f"none (≤ {_LEEWAY})",
            max(counted.values()) <= _LEEWAY,
            timed=False,
        ),
    ]


def _woken_rows(answered: list[float], timed: list[float]) -> list[Row]:
    return [
        seconds(f"{_WAITING:,} answers sent, {_AT_ONCE} at once → all runs completed", answered, worst_max=20.0),
        seconds(f"{_WAITING:,} timers due at once → all runs completed", timed, worst_max=20.0),
    ]


async def _gather(calls: Iterable[Awaitable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Their results in order; a few of them at once."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(call: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        async with turns:
            return await call

    return await asyncio.gather(*map(in_turn, calls))


CASES = {"waiting": Case(waiting_runs, 3)}
