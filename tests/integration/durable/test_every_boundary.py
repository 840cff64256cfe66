"""The owner dies at every boundary of every step, and the run ends as it would have: with every tool done once."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.kills.points import Point
from tests.support.kills.world import Kill, KillWorld, kill_world

_AT_ONCE = 4
_SAMPLE = 6
_ROUNDS_FOR_ALL = 5
_TOLD_CHARS_MAX = 600
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[KillWorld]:
    """Twelve steps, and someone who wants an L."""
    modules = ["tests.support.kills.twelve_steps"]
    async with kill_world(modules, "twelve-steps", {}, {"Which size?": "L"}) as made:
        yield made


def dice() -> int:
    """The seed of this session's choices; SEED replays one."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"SEED={seed}")
    return seed


async def check_all(world: KillWorld, kills: list[Kill]) -> None:
    """Kill at each of them; compare with a run that nobody killed."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def check(kill: Kill) -> str:
        async with gate:
            came = await world.kill(kill)
        if came != world.golden:
            assert world.golden is not None
            return f"{kill}: {came.differs_from(world.golden)}"
        if came.transcripts[0] != came.transcripts[1]:
            return f"{kill}: a viewer's transcript is not the record's: {came.transcripts}"
        if not kill.of_child and not came.killed:
            return f"{kill}: nobody was killed"
        return ""

    wrong = [each for each in await asyncio.gather(*(check(kill) for kill in kills)) if each]
    assert not wrong, f"{len(wrong)} of {len(kills)}:\n" + "\n".join(each[:_TOLD_CHARS_MAX] for each in wrong)


async def test_f50_f51_a_kill_at_any_boundary_changes_nothing(world: KillWorld) -> None:
    """A sample of them, another one each time; ``make chaos`` takes all."""
    kills = await world.kills()
    assert world.golden is not None
    assert len(world.golden.journal) == 12
    await check_all(world, random.Random(dice()).sample(kills, _SAMPLE))


@pytest.mark.chaos
async def test_f50_f51_a_kill_at_every_boundary_changes_nothing(world: KillWorld) -> None:
    """All of them; with ROUNDS below 5, so many parts of them."""
    kills = await world.kills()
    rounds = int(os.environ.get("ROUNDS") or _ROUNDS_FOR_ALL)
    random.Random(dice()).shuffle(kills)
    await check_all(world, kills[: len(kills) * min(rounds, _ROUNDS_FOR_ALL) // _ROUNDS_FOR_ALL])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tools_world() -> AsyncIterator[KillWorld]:
    """A pydantic_ai agent whose model asks for three tools at once."""
    asked = 'tool:charge({"to": "a"}) tool:ship({"to": "b"}) tool:look_up({"to": "c"}) slow:3x1'
    run_input = {"messages": [{"role": "user", "content": asked}]}
    async with kill_world(["tests.support.kills.three_tools"], "three-tools", run_input, {}) as made:
        yield made


async def of_tools(tools_world: KillWorld) -> list[Kill]:
    """Every boundary of the run with three tools."""
    kills = await tools_world.kills()
    assert tools_world.golden is not None
    assert [entry[0] for entry in tools_world.golden.journal] == ["0", "1.0", "1.1", "1.2", "2"]
    assert tools_world.golden.calls == {"charge": 1, "ship": 1, "look_up": 1}
    return [kill for kill in kills if (kill.position, kill.point) not in _OF_THE_MODEL]


@pytest.mark.slow
async def test_f50_f51_a_kill_at_any_boundary_of_three_tools_at_once_changes_nothing(tools_world: KillWorld) -> None:
    await check_all(tools_world, random.Random(dice()).sample(await of_tools(tools_world), _SAMPLE))


@pytest.mark.chaos
async def test_f50_f51_a_kill_at_every_boundary_of_three_tools_at_once_changes_nothing(tools_world: KillWorld) -> None:
    kills = await of_tools(tools_world)
    rounds = int(os.environ.get("ROUNDS") or _ROUNDS_FOR_ALL)
    random.Random(dice()).shuffle(kills)
    await check_all(tools_world, kills[: len(kills) * min(rounds, _ROUNDS_FOR_ALL) // _ROUNDS_FOR_ALL])


_OF_THE_MODEL = {(position, Point.IN_WORK) for position in ("0", "2")}
"""Where nobody is killed: the model's own work has no hook."""
