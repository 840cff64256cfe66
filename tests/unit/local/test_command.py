"""The ``holdfast`` command as a shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("pydantic", "httpx2", "psutil", "watchfiles", "sqlalchemy", "starlette")


def _holdfast(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, "-m", "holdfast_local", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=os.environ, check=False)


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    asked = _holdfast("--help", python=("-X", "importtime"))
    assert asked.returncode == 0
    for command in ("up", "migrate", "gateway", "runner", "reaper", "mock-model"):
        assert f"\n  {command} " in asked.stdout
    imported = {
        line.rpartition("|")[2].strip() for line in asked.stderr.splitlines() if line.startswith("import time:")
    }
    assert "click" in imported
    assert not imported & set(HEAVY)


@pytest.mark.parametrize("command", ["up", "migrate", "gateway", "runner", "reaper", "mock-model"])
def test_every_command_explains_itself(command: str) -> None:
    asked = _holdfast(command, "--help")
    assert asked.returncode == 0
    assert asked.stdout.startswith(f"Usage: holdfast {command}")


def test_an_unknown_command_is_refused() -> None:
    assert _holdfast("fly").returncode == 2


def test_a_database_that_is_not_there_is_one_line_and_exit_1() -> None:
    asked = _holdfast("migrate", "--postgres", "postgresql://nobody@127.0.0.1:1/nothing")
    assert asked.returncode == 1
    assert asked.stderr.startswith("Error: cannot reach Postgres")
    assert "Traceback" not in asked.stderr


def _refused_up(*arguments: str) -> str:
    """What ``holdfast up`` says when it starts nothing."""
    asked = _holdfast("up", "--port", "0", *arguments)
    assert asked.returncode == 1
    assert not asked.stdout
    assert asked.stderr.count("\n") == 1, asked.stderr
    return asked.stderr


def test_up_on_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        said = _refused_up("--data", str(folder))
        assert said.startswith(f"Error: cannot keep data in {folder}: ")
        assert said.endswith("; choose another folder with --data\n")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_up_on_a_folder_of_the_system_is_one_line() -> None:
    assert _refused_up("--data", "/proc/nope").startswith("Error: cannot keep data in /proc/nope: ")
    assert _refused_up("--data", "/proc").startswith("Error: cannot keep data in /proc: ")


@pytest.mark.parametrize("name", ["nope.module", "holdfast_agent.nope", "absent.py", "holdfast_agent,nope", "nope."])
def test_up_with_agents_that_are_not_there_starts_nothing(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    said = _refused_up("--data", str(data), "--agents", name)
    assert said.startswith(f"Error: there is no {'file' if name.endswith('.py') else 'module'} of agents ")
    assert name.rpartition(",")[2] in said
    assert not data.exists()
