"""Finding agents: installed ones, those of named modules and files, and modules that are broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast_agent.load import load

MakeFile = Callable[[str, str], str]
GREETER = "from holdfast_agent import agent\n@agent('greeter')\nasync def greeter(run):\n    return {mark!r}\n"


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Write a module; returns its path."""

    def make(name: str, source: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return str(path)

    return make


def test_the_built_in_agents_are_there() -> None:
    loaded = load()
    assert {"assistant", "echo"} <= loaded.agents.keys()
    assert loaded.failures == {}
    assert loaded.agents["echo"].description.startswith("Says back")


def test_a_file_s_agents_are_added(make_file: MakeFile) -> None:
    loaded = load([make_file("mine.py", GREETER.format(mark=1))])
    assert {"assistant", "echo", "greeter"} <= loaded.agents.keys()
    assert loaded.failures == {}


def test_a_named_agent_replaces_an_installed_one(make_file: MakeFile) -> None:
    source = GREETER.format(mark=1).replace("'greeter'", "'echo'")
    loaded = load([make_file("mine.py", source)])
    assert loaded.agents["echo"].function.__name__ == "greeter"
    assert loaded.failures == {}


def test_of_two_with_one_name_the_first_counts_and_the_later_is_told(make_file: MakeFile) -> None:
    one, other = make_file("a/x.py", GREETER.format(mark=1)), make_file("b/x.py", GREETER.format(mark=2))
    loaded = load([one, other])
    assert loaded.failures == {other: "there is an agent 'greeter' already"}
    assert loaded.agents["greeter"].version == load([one]).agents["greeter"].version


def test_two_with_one_name_in_one_module_are_told(make_file: MakeFile) -> None:
    twice = GREETER.format(mark=1) + GREETER.format(mark=2).replace("async def greeter", "async def again")
    path = make_file("twice.py", twice)
    assert load([path]).failures == {path: "there is an agent 'greeter' already"}


def test_an_agent_that_two_modules_import_is_one_agent(make_file: MakeFile) -> None:
    source = "from holdfast_agent.builtin.echo import echo\nsame = echo\n"
    loaded = load([make_file("a.py", source), make_file("b.py", source)])
    assert loaded.failures == {}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("raise SystemExit(2)\n", "SystemExit: 2"),
        ("x = 1\n", "it has no agent"),
        ("from holdfast_agent import agent\n@agent('no good')\nasync def f(run): ...\n", "ValueError: agent name"),
        ("from holdfast_agent import agent\n@agent('sync')\ndef f(run): ...\n", "TypeError: agent 'sync'"),
    ],
)
def test_a_broken_module_is_told_of_and_left_out(make_file: MakeFile, source: str, why: str) -> None:
    path = make_file("broken.py", source)
    before = set(sys.modules)
    loaded = load([path, make_file("fine.py", GREETER.format(mark=1))])
    assert loaded.failures.keys() == {path}
    assert why in loaded.failures[path]
    assert "greeter" in loaded.agents
    assert not [name for name in set(sys.modules) - before if "broken" in name and why != "it has no agent"]


def test_a_file_that_is_not_there_is_told() -> None:
    assert load(["nowhere/agents.py"]).failures == {
        "nowhere/agents.py": "FileNotFoundError: no such file: nowhere/agents.py"
    }


def test_a_file_named_as_a_module_of_the_library_does_not_replace_it(make_file: MakeFile) -> None:
    load([make_file("json.py", GREETER.format(mark=1))])
    assert sys.modules["json"] is json


def test_a_dotted_name_is_found_from_the_working_directory(
    make_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_file("agents_found_here/mine.py", GREETER.format(mark=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    loaded = load(["agents_found_here.mine"])
    assert loaded.failures == {}
    assert "greeter" in loaded.agents


def test_a_changed_file_is_another_version(make_file: MakeFile) -> None:
    versions = {load([make_file("mine.py", GREETER.format(mark=n))]).agents["greeter"].version for n in (1, 2, 1)}
    assert len(versions) == 2
