"""The runner is killed at every write of the journal, its child with it: before and after each, the points taken from a run that
nobody killed. Each time the run ends as that one did, each effect in the world was made once, and nothing is left open."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent_acp.journal_double import Died
from tests.unit.agent_acp.play import Play

_ACTIONS: list[dict[str, Any]] = [
    {"say": "First I look. "},
    {"call": {"title": "Look"}},
    {"say": "Now two at once. "},
    {"together": [{"title": "Left"}, {"title": "Right", "quiet": True}]},
    {"call": {"title": "Deploy", "permission": True}},
    {"say": "All done."},
]
_EFFECTS = ["Deploy", "Left", "Look", "Right"]
_SIDE_BY_SIDE = 3
_SAMPLE = 4
_ROUNDS_FOR_ALL = 5
_DEATHS = 5
_DEADLY = 0.12


each_kind = pytest.mark.parametrize(
    ("load", "killed"),
    [(True, "before"), (True, "after"), (False, "after")],
    ids=["before, load", "after, load", "after, no load"],
)


@pytest.mark.slow
@each_kind
async def test_f62_killed_at_any_write_a_run_ends_as_if_nobody_had(tmp_path: Path, load: bool, killed: str) -> None:
    """A sample of them, another one each time; ``make chaos`` takes all."""
    await _killed_at(tmp_path, load=load, killed=killed, sample=_SAMPLE)


@pytest.mark.chaos
@each_kind
async def test_f62_killed_at_every_write_a_run_ends_as_if_nobody_had(tmp_path: Path, load: bool, killed: str) -> None:
    """With ROUNDS below 5 a sample too."""
    rounds = int(os.environ.get("ROUNDS") or _ROUNDS_FOR_ALL)
    await _killed_at(tmp_path, load=load, killed=killed, sample=None if rounds >= _ROUNDS_FOR_ALL else 2 * rounds)


async def _killed_at(tmp_path: Path, *, load: bool, killed: str, sample: int | None) -> None:
    golden = Play(tmp_path / "golden", _ACTIONS, load=load)
    output = await golden.to_the_end()
    points: list[tuple[int, str]] = []
    counting = Play(tmp_path / "counting", _ACTIONS, load=load)
    counting.record.on_write = lambda what, when: points.append((len(points) // 2 + 1, when))
    await counting.to_the_end()
    assert len(points) > 30, "every step has an intent and an end"
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(number: int, when: str) -> str | None:
        play = Play(tmp_path / f"{when}-{number}", _ACTIONS, load=load)
        play.die(number, when)
        async with gate:
            try:
                ended = await play.to_the_end()
            except BaseException as error:
                return f"{when} write {number}: {type(error).__name__}: {error}"
        return _wrong(play, golden, ended, output, f"{when} write {number}")

    chosen = [point for point in points if point[1] == killed]
    if sample is not None:
        seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))
        print(f"SEED={seed}")
        chosen = random.Random(seed).sample(chosen, sample)
    wrong = [each for each in await asyncio.gather(*(one(*point) for point in chosen)) if each is not None]
    assert not wrong, "\n".join(wrong[:3])


@pytest.mark.slow
@pytest.mark.parametrize("load", [True, False], ids=["load", "no load"])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_f62_killed_again_and_again_a_run_ends_as_if_nobody_had(tmp_path: Path, load: bool, seed: int) -> None:
    golden = Play(tmp_path / "golden", _ACTIONS, load=load)
    output = await golden.to_the_end()
    dice = random.Random(seed)
    play = Play(tmp_path / "play", _ACTIONS, load=load)
    deaths = 0

    def on_write(what: str, when: str) -> None:
        nonlocal deaths
        if deaths < _DEATHS and dice.random() < _DEADLY:
            deaths += 1
            play.kill_children()
            raise Died(what)

    play.record.on_write = on_write
    ended = await play.to_the_end()
    assert deaths == _DEATHS
    assert (wrong := _wrong(play, golden, ended, output, f"seed {seed}")) is None, wrong


def _wrong(play: Play, golden: Play, ended: Any, output: Any, where: str) -> str | None:
    """What is not as it has to be."""
    problems = []
    if (ended["text"], ended["stop_reason"]) != (output["text"], output["stop_reason"]):
        problems.append(f"the output is {ended}")
    if sorted(play.lines("effects")) != _EFFECTS:
        problems.append(f"the effects are {play.lines('effects')}")
    if play.record.text != golden.record.text:
        problems.append(f"viewers have {play.record.text!r}")
    if unfinished := [row.position for row in play.record.steps() if not row.finished]:
        problems.append(f"these are unfinished: {unfinished}")
    cut_after_yes = [row for row in play.record.steps("tool") if row.name == "Deploy" and row.status == "failed"]
    if len(play.record.asks) > 1 + len(cut_after_yes):
        problems.append(f"a person was asked {len(play.record.asks)} times")  # again only when "once" had begun
    if play.alive():
        problems.append(f"left behind: {play.alive()}")
    journal = [(row.position, row.name, row.status, str(row.output)[:60]) for row in play.record.steps()]
    return f"{where}: {'; '.join(problems)}\n  {journal}" if problems else None
