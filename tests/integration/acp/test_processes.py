"""Child processes and their launcher: nothing outlives the one that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from holdfast_agent.acp.launcher import by_proc, by_ps
from holdfast_agent.acp.process import ChildProcess
from tests.support.wait import wait_until

_SHELL = "/bin/sh"
_TREE = "sleep 1000 & setsid sleep 1000 & echo $$ $! > pids; wait"
_RUNNER = """
import asyncio, sys
from pathlib import Path
from holdfast_agent.acp.launcher import by_proc, by_ps
from holdfast_agent.acp.process import ChildProcess

async def main():
    await ChildProcess.start(["/bin/sh", "-c", sys.argv[1]], cwd=Path(sys.argv[2]), env={})
    print("started", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def _living(marker: Path) -> list[str]:
    """The processes that work in a folder."""
    found = []
    for proc in Path("/proc").iterdir():
        try:
            if proc.name.isdigit() and (proc / "cwd").resolve() == marker and "(sleep)" in (proc / "stat").read_text():
                found.append(proc.name)
        except OSError:
            continue
    return found


async def test_all_that_a_child_has_started_dies_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUNNER, _TREE, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert runner.stdout is not None
    assert await runner.stdout.readline() == b"started\n"
    await wait_until(lambda: len(_living(tmp_path)) == 2, description="both sleep")
    runner.kill()
    await runner.wait()
    await wait_until(lambda: not _living(tmp_path), description="nothing sleeps any more")


async def test_a_child_dies_with_its_launcher(tmp_path: Path) -> None:
    child = await ChildProcess.start([_SHELL, "-c", "exec sleep 1000"], cwd=tmp_path, env={})
    await wait_until(lambda: len(_living(tmp_path)) == 1, description="it sleeps")
    os.kill(child.pid, signal.SIGKILL)
    await wait_until(lambda: not _living(tmp_path), description="it is gone")
    await child.kill()


async def test_kill_reaches_what_has_left_the_group(tmp_path: Path) -> None:
    child = await ChildProcess.start([_SHELL, "-c", _TREE], cwd=tmp_path, env={})
    await wait_until(lambda: len(_living(tmp_path)) == 2, description="both sleep")
    await child.kill()
    assert not _living(tmp_path)


async def test_what_a_child_leaves_behind_dies_when_it_ends(tmp_path: Path) -> None:
    child = await ChildProcess.start([_SHELL, "-c", "sleep 1000 & setsid sleep 1000 & exit 5"], cwd=tmp_path, env={})
    assert await child.exited(5.0) == 5
    assert not _living(tmp_path)
    await child.kill()


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", -signal.SIGTERM), ("kill -KILL $$", -signal.SIGKILL)],
)
async def test_the_exit_code_is_the_childs(tmp_path: Path, script: str, code: int) -> None:
    child = await ChildProcess.start([_SHELL, "-c", script], cwd=tmp_path, env={})
    assert await child.exited(5.0) == code
    await child.kill()


async def test_an_interrupt_reaches_the_child_and_not_the_launcher(tmp_path: Path) -> None:
    child = await ChildProcess.start(
        [_SHELL, "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done"], cwd=tmp_path, env={}
    )
    assert await child.reader.readline() == b"ready\n"
    child.interrupt()
    assert await child.exited(5.0) == 9
    await child.kill()


async def test_stderr_is_read_to_its_end_and_only_its_end_is_kept(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; printf 'no newline' >&2"
    child = await ChildProcess.start([_SHELL, "-c", script], cwd=tmp_path, env={})
    assert await child.exited(10.0) == 0
    assert child.last_words.splitlines()[-2:] == ["line 2999", "no newline"]
    assert len(child.last_words.splitlines()) <= 20
    await child.kill()


def test_ps_tells_what_proc_tells() -> None:
    mine = (os.getpid(), os.getppid(), os.getpgrp())
    assert mine in by_proc()
    assert mine in by_ps()


async def test_a_command_that_cannot_be_executed_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    child = await ChildProcess.start([str(broken)], cwd=tmp_path, env={})
    assert await child.exited(5.0) == 127
    assert "cannot start" in child.last_words
    await child.kill()


async def test_a_command_may_be_named_relative_to_its_folder(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    child = await ChildProcess.start(["./run.sh"], cwd=tmp_path, env={})
    assert await child.exited(5.0) == 3
    await child.kill()
