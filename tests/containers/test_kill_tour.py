"""compose.yaml on a real engine: the container that owns a run is killed, and the viewer's stream goes on to the end."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from holdfast.runs.event_id import EventId
from holdfast.runs.fold import Fold
from tests.containers.compose import CommandFailed, Compose, log_lines, metric, run
from tests.support.wait import wait_until

pytestmark = pytest.mark.containers

CHUNKS = 50  # of 100 ms each: the answer takes 5 s, and the owner is killed near its beginning


@dataclass(slots=True)
class Viewer:
    """One client of a run's stream: every event it got, and what it shows."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fold: Fold = field(default_factory=Fold)
    seen: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    async def follow(self, client: httpx2.AsyncClient, url: str) -> None:
        """Read the stream until the server ends it."""
        async with client.sse(url) as stream:
            async for event in stream:
                data = json.loads(event.data)
                self.events.append((event.event, data))
                self.fold.apply(EventId.parse(event.id), event.event, data)
                self.seen[event.event].set()

    async def until(self, event_type: str, timeout_s: float = 30.0) -> None:
        await asyncio.wait_for(self.seen[event_type].wait(), timeout_s)

    def of(self, event_type: str) -> list[dict[str, Any]]:
        return [data for kind, data in self.events if kind == event_type]


@pytest.fixture
async def client(key: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=15.0) as one:
        yield one


@contextmanager
def killed(container: str) -> Iterator[None]:
    """A container is killed, and started again at the end."""
    run("docker", "kill", "--signal", "KILL", container)
    try:
        yield
    finally:
        run("docker", "start", container)


def log(container: str) -> list[dict[str, Any]]:
    """What a service has logged; fails on a line that is not JSON."""
    return [json.loads(line) for line in log_lines(container)]


async def clear_sight(reapers: set[str]) -> None:
    """Wait until every reaper may declare deaths: one that has just started, or missed a beat, is ready before that."""
    await wait_until(
        lambda: all(metric(reaper, "holdfast_reaper_sees") == 1 for reaper in reapers),
        description="every reaper may declare deaths",
        timeout_s=30,
    )


async def submit(client: httpx2.AsyncClient, api: str) -> str:
    """A run whose answer takes its time; its id."""
    question = {"role": "user", "content": f"slow:{CHUNKS}x100"}
    answer = await client.post(f"{api}/runs", json={"agent": "assistant", "input": {"messages": [question]}})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def boots(client: httpx2.AsyncClient, api: str) -> dict[str, str]:
    """The runners that a gateway lists: name to boot."""
    answer = (await client.get(f"{api}/pods")).raise_for_status()
    return {pod["pod"]: pod["boot"] for pod in answer.json()["items"]}


async def test_another_container_goes_on_when_the_owners_is_killed(system: Compose, client: httpx2.AsyncClient) -> None:
    first, second = (f"http://{system.address(gateway, 8080)}/v1" for gateway in ("gateway-1", "gateway-2"))
    runners, reapers = system.hosts("runner"), system.hosts("reaper")
    assert (len(runners), len(reapers)) == (3, 2)
    before = await boots(client, first)
    assert before.keys() == runners, "a runner's name is its container's host name"
    await clear_sight(reapers)

    run_id = await submit(client, first)
    viewer = Viewer()
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        group.create_task(viewer.follow(client, f"{second}/runs/{run_id}/events"))
        await viewer.until("text.delta")
        (owner,) = (started["pod"] for started in viewer.of("run.started"))
        with killed(owner):
            await viewer.until("run.resumed")

    (resumed,) = viewer.of("run.resumed")
    assert (resumed["from_pod"], resumed["reason"]) == (owner, "owner_lost")
    assert resumed["pod"] in runners - {owner}
    deaths = [line for reaper in reapers for line in log(reaper) if line["event"] == "pod.dead"]
    assert "links_gone" in {death["reason"] for death in deaths if death["pod"] == owner}, "found by its silence alone"
    assert viewer.events[-1][0] == "run.completed", viewer.events[-1]
    assert viewer.fold.text == "".join(f"chunk-{i} " for i in range(1, CHUNKS + 1))

    async def is_back() -> bool:
        now = await boots(client, first)
        return now.keys() == runners and now[owner] != before[owner]

    await wait_until(is_back, description=f"{owner} is listed again, with a new boot", timeout_s=30)
    await asyncio.to_thread(system.until_ready, timeout_s=60)


def test_compose_refuses_to_start_without_a_first_key(engine: None) -> None:
    with pytest.raises(CommandFailed, match="secret of at least 16 characters"):
        Compose("holdfast-keyless", {"HOLDFAST_BOOTSTRAP_KEY": ""})("config")


def test_our_containers_run_as_nobody_in_particular_and_write_nowhere(system: Compose) -> None:
    ours = [each for each in system.inspect() if each["Config"]["Image"] == system.environment["HOLDFAST_IMAGE"]]
    assert len(ours) == 9
    for each in ours:
        assert each["Config"]["User"] == "10001:10001", each["Name"]
        assert each["HostConfig"]["ReadonlyRootfs"], each["Name"]
        assert each["HostConfig"]["CapDrop"] == ["ALL"], each["Name"]


@pytest.mark.parametrize("service", ["gateway-1", "gateway-2", "runner", "reaper"])
def test_logs_are_lines_of_json(system: Compose, service: str) -> None:
    for host in system.hosts(service):
        assert all(line.keys() >= {"event", "level", "timestamp"} for line in log(host))


def test_sigterm_ends_every_service_in_its_grace(system: Compose) -> None:
    stopped = {min(system.hosts(service)) for service in ("gateway-2", "runner", "reaper", "mock-model")}
    run("docker", "stop", *stopped)
    try:
        ends = {one["Name"]: one["State"] for one in system.inspect() if one["Config"]["Hostname"] in stopped}
    finally:
        run("docker", "start", *stopped)
    assert {name: (end["Status"], end["ExitCode"]) for name, end in ends.items()} == dict.fromkeys(ends, ("exited", 0))
    assert len(ends) == 4
