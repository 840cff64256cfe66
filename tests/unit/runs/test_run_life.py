"""docs/run_life.md draws the table that the code obeys."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.runs import TABLE, TERMINAL, Command, Status

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs" / "run_life.md").read_text(encoding="utf-8")
_SQL = _ROOT / "libs" / "common" / "holdfast" / "store" / "sql"
_EDGE = re.compile(r"(?P<before>\S+) --> (?P<after>\S+)(?: : (?P<commands>.+))?")

Edge = tuple[str, str, str]


def _drawn() -> list[Edge]:
    """(command, from, to) of each edge; a line without a label has the command ""."""
    match = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", _PAGE, re.DOTALL)
    assert match is not None, "docs/run_life.md has no state diagram"
    edges: list[Edge] = []
    for line in filter(None, map(str.strip, match[1].splitlines())):
        edge = _EDGE.fullmatch(line)
        assert edge is not None, f"not an edge: {line!r}"
        edges += [(command, edge["before"], edge["after"]) for command in (edge["commands"] or "").split(", ")]
    return edges


def _tabled() -> set[Edge]:
    edges = {(command, before, after) for (command, before), afters in TABLE.items() for after in afters}
    born = {("submit", "[*]", Status.QUEUED)}
    over = {("", status, "[*]") for status in TERMINAL}
    return {(str(command), str(before), str(after)) for command, before, after in edges | born | over}


def test_every_edge_that_is_drawn_is_in_the_table() -> None:
    assert set(_drawn()) - _tabled() == set()


def test_every_cell_of_the_table_is_drawn() -> None:
    assert _tabled() - set(_drawn()) == set()


def test_no_edge_is_drawn_twice() -> None:
    assert len(_drawn()) == len(set(_drawn()))


def test_every_command_is_explained_and_its_statement_exists() -> None:
    rows = re.findall(r"^\| (\w+) \| .+ \| (?:`(\w+)`|\u2013) \|$", _PAGE, re.MULTILINE)
    assert sorted(command for command, _ in rows) == sorted(["submit", *Command])
    assert [statement for _, statement in rows if statement and not (_SQL / f"{statement}.sql").is_file()] == []
