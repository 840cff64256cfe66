"""SQL has one home, every statement says what it is for, and none is dead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.store import migrate, schema
from holdfast.store.queries import sql

_ROOT = Path(__file__).parents[3]
_STORE = _ROOT / "libs" / "common" / "holdfast" / "store"
_NAMES = sorted(path.stem for path in (_STORE / "sql").glob("*.sql"))
_SOURCES = sorted(
    path
    for top in ("libs", "services")
    for path in (_ROOT / top).rglob("*.py")
    if _STORE / "migrations" not in path.parents
)
# keywords in capitals, as the house writes them; prose has them in small letters
_IS_SQL = re.compile(
    r"\b(SELECT\b.+(\bFROM\b|\(|\$\d)|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|(CREATE|ALTER|DROP)\s+[A-Z]+\s|SET\s+\w+\s*(=|TO)|LISTEN\s+\w|TRUNCATE\s)",
    re.DOTALL,
)
_OWNERS = ["run_finish", "run_release", "run_suspend", "run_progress", "step_intent", "step_checkpoint", "wait_open"]
_TOGETHER = {"run_finish", "step_intent", "step_checkpoint"}
_FENCE = "id = $1 AND run_owner_pod = $2 AND run_owner_boot = $3 AND attempt = $4 AND status = 'running'"
_FENCE_TOGETHER = (
    "r.run_owner_pod = c.pod AND r.run_owner_boot = c.boot AND r.attempt = c.attempt AND r.status || '' = 'running'"
)


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string in a module that is not a docstring; of f-strings the fixed parts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def _named_in_calls(path: Path) -> Iterator[str]:
    """The names that a module gives to ``sql``, ``fetch``, ``fetchrow`` and ``together``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"sql", "fetch", "fetchrow", "together", "_fetch"} and isinstance(node.args[0].value, str):
                yield node.args[0].value


@pytest.mark.parametrize("name", _NAMES)
def test_statement_begins_by_saying_what_it_does(name: str) -> None:
    first = sql(name).splitlines()[0]
    assert re.match(r"-- [A-Z][^$]{14,}", first), f"{name}.sql begins with {first!r}"


def test_no_statement_is_dead() -> None:
    used = {text for path in _SOURCES for _, text in _strings(path)}
    assert set(_NAMES) - used == set()


def test_every_statement_that_is_named_exists() -> None:
    named = {name for path in _SOURCES if _STORE in path.parents for name in _named_in_calls(path)}
    assert named - set(_NAMES) == set()
    assert named, "the search finds nothing any more"


def test_a_statement_is_one_statement() -> None:
    """The driver takes one; a second would not be atomic with it."""
    without_comments = {name: re.sub(r"--[^\n]*", "", sql(name)) for name in _NAMES}
    assert [name for name, text in without_comments.items() if ";" in text] == []


@pytest.mark.parametrize("name", _OWNERS)
def test_what_an_owner_writes_is_fenced(name: str) -> None:
    assert (_FENCE_TOGETHER if name in _TOGETHER else _FENCE) in sql(name)


@pytest.mark.parametrize("name", sorted(_TOGETHER | {"run_claim"}))
def test_what_locks_many_runs_locks_them_in_one_order(name: str) -> None:
    assert re.search(r"ORDER BY r\.id FOR NO KEY UPDATE|ORDER BY w\.id LIMIT", sql(name))


def test_whatever_updates_a_run_looks_at_its_status() -> None:
    updates = [name for name in _NAMES if re.search(r"UPDATE runs\b", sql(name))]
    assert set(_OWNERS) - {"step_intent", "wait_open"} <= set(updates)
    assert [name for name in updates if not re.search(r"\bstatus( \|\| '')? (=|IN) ", sql(name))] == []


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_no_sql_outside_its_home(path: Path) -> None:
    assert [(line, text) for line, text in _strings(path) if _IS_SQL.search(text)] == []


@pytest.mark.parametrize(
    "text", ["SELECT 1\nFROM runs", "SELECT now()", "UPDATE runs SET status", "SET lock_timeout = "]
)
def test_sql_is_known_when_seen(text: str) -> None:
    assert _IS_SQL.search(text)
    assert not _IS_SQL.search(text.lower())


def test_the_code_needs_the_newest_schema() -> None:
    assert migrate.head() == schema.REQUIRED


def test_migrations_are_pairs_of_a_stub_and_its_sql_in_one_line() -> None:
    versions = _STORE / "migrations" / "versions"
    stubs, texts = ({path.stem for path in versions.glob(f"r*.{end}")} for end in ("py", "sql"))
    assert stubs == texts
    assert [stem[1:5] for stem in sorted(stubs)] == [f"{n:04}" for n in range(1, len(stubs) + 1)]
