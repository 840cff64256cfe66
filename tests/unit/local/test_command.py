"""The ``holdfast`` command as a shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys

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
