"""The detector and what it is made of know no I/O, no clock and no asyncio: their imports are counted out here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import holdfast_reaper.detector

FOLDER = Path(holdfast_reaper.detector.__file__).parent
ALLOWED = {"__future__", "collections.abc", "dataclasses", "enum", "typing", "uuid"}
OWN = {f"holdfast_reaper.{name}" for name in ("evidence", "roster", "sight")}


@pytest.mark.parametrize("name", ["detector", "evidence", "roster", "sight"])
def test_it_imports_nothing_that_could_look_at_the_world(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= ALLOWED | OWN
