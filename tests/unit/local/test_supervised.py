"""Back-off, what is said about deaths, and when there is no use in starting again; over processes that are none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast_local.child import Child, describe_exit, log_tail
from holdfast_local.process import Process, ProcessStartFailed
from holdfast_local.supervised import BACK_OFF_MAX_S, NeverReady, Supervised, back_off_s
from tests.support.wait import wait_until


class Scripted(Process):
    """Ends when told, with the exit code that it is told."""

    def __init__(self, folder: Path, *, ready: bool = True) -> None:
        super().__init__("scripted", folder / "scripted.log")
        self.spawned = 0
        self._ready = ready
        self._ended: asyncio.Future[int] | None = None

    @property
    def where(self) -> str:
        return "nowhere"

    @property
    def pid(self) -> int | None:
        return 1000 + self.spawned if self._ended is not None and not self._ended.done() else None

    async def spawn(self) -> None:
        self.spawned += 1
        self._ended = asyncio.get_running_loop().create_future()

    async def until_ready(self) -> None:
        assert self._ended is not None
        if not self._ready:
            await asyncio.shield(self._ended)
            raise ProcessStartFailed("it ended")

    async def exited(self) -> int:
        assert self._ended is not None
        return await asyncio.shield(self._ended)

    async def stop(self) -> bool:
        self.end(0)
        return True

    def end(self, code: int) -> None:
        assert self._ended is not None
        self._ended.set_result(code)

    def _spawn(self) -> Child:
        raise NotImplementedError

    async def _is_ready(self) -> bool:
        raise NotImplementedError


def test_back_off_doubles_up_to_its_bound() -> None:
    assert [back_off_s(deaths) for deaths in (1, 2, 3)] == [0.25, 0.5, 1.0]
    assert back_off_s(1_000) == BACK_OFF_MAX_S


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-200, "killed by signal 200")],
)
def test_exits_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_a_log_tail_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert not log_tail(log)
    log.write_text("".join(f"line {number} {'x' * 1000}\n" for number in range(100)))
    assert log_tail(log, lines_max=2).startswith("line 98 ")


async def test_deaths_are_told_and_the_process_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    process = Scripted(tmp_path)
    watching = asyncio.create_task(Supervised(process, say=said.append, restart=True).keep_running())
    await wait_until(lambda: process.pid == 1001, description="the first start")
    process.end(-9)
    await wait_until(lambda: process.pid == 1002, description="the second start")
    process.end(3)
    await wait_until(lambda: process.pid == 1003, description="the third start")
    assert said[1::2] == [
        "scripted (pid 1001) ended: killed by SIGKILL; starting it again in 0.25 s",
        "scripted (pid 1002) ended: exit code 3; starting it again in 0.5 s",
    ]
    watching.cancel()
    assert process.pid == 1003


async def test_a_restart_on_purpose_is_no_death(tmp_path: Path) -> None:
    said: list[str] = []
    process = Scripted(tmp_path)
    supervised = Supervised(process, say=said.append, restart=True)
    watching = asyncio.create_task(supervised.keep_running())
    await wait_until(lambda: process.pid == 1001, description="the first start")
    await supervised.restart(ready_timeout_s=5)
    assert process.pid == 1002
    assert not [line for line in said if "ended" in line]
    watching.cancel()


async def test_a_restart_on_purpose_does_not_wait_for_the_back_off_nor_needs_restarts(tmp_path: Path) -> None:
    process = Scripted(tmp_path)
    supervised = Supervised(process, say=lambda _: None, restart=False)
    watching = asyncio.create_task(supervised.keep_running())
    await wait_until(supervised.ready.is_set, description="readiness")
    process.end(1)
    await wait_until(lambda: process.pid is None, description="its end")
    await supervised.restart(ready_timeout_s=5)
    assert process.pid == 1002
    watching.cancel()


@pytest.mark.parametrize(("restart", "code"), [(False, 1), (True, 78)])
async def test_before_it_was_ever_ready_some_deaths_are_final(tmp_path: Path, restart: bool, code: int) -> None:
    process = Scripted(tmp_path, ready=False)
    process.log_path.write_text("no such module\n")
    watching = asyncio.create_task(Supervised(process, say=lambda _: None, restart=restart).keep_running())
    await wait_until(lambda: process.pid == 1001, description="the first start")
    process.end(code)
    with pytest.raises(NeverReady, match="no such module"):
        await watching
