"""What the start of each process does without. A module named here costs every start, of which a day of CI has thousands."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import imports

_FOR_AGENTS = {"pydantic_ai", "openai", "acp", "mcp"}
_FOR_MIGRATIONS = {"alembic", "sqlalchemy", "psycopg"}
_FOR_NOBODY_HERE = {"email_validator", "rich", "typer", "uvicorn"}
_WITHOUT = {
    "import holdfast_gateway.__main__": _FOR_AGENTS | _FOR_MIGRATIONS | _FOR_NOBODY_HERE | {"holdfast_agent"},
    "import holdfast_runner.__main__, holdfast_agent.load; assert holdfast_agent.load.load().agents": (
        _FOR_AGENTS | _FOR_MIGRATIONS | _FOR_NOBODY_HERE | {"fastapi", "httpx", "httpx2", "pydantic.v1"}
    ),
    "import holdfast_reaper.__main__": (
        _FOR_AGENTS | _FOR_MIGRATIONS | _FOR_NOBODY_HERE | {"fastapi", "httpx", "httpx2", "jsonschema", "holdfast_agent"}
    ),
    "import holdfast_local.mock_model.__main__": (
        _FOR_AGENTS | _FOR_MIGRATIONS | _FOR_NOBODY_HERE | {"fastapi", "pydantic", "structlog", "nats", "asyncpg"}
    ),
    "import holdfast_local.up": {"pydantic", "structlog", "nats", "asyncpg", "httpx2", "sqlalchemy", "granian"},
    # the help of `holdfast`, and of every command
    "import click; from holdfast_local.__main__ import main; context = click.Context(main); main.get_help(context);"
    "[main.get_command(context, name).get_help(context) for name in main.list_commands(context)]": {
        "asyncio", "pydantic", "structlog", "nats", "asyncpg", "httpx2", "sqlalchemy", "granian", "psutil", "holdfast.store",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("start", "without"), _WITHOUT.items(), ids=["gateway", "runner", "reaper", "mock", "up", "help"]
)
def test_a_start_does_without(start: str, without: set[str]) -> None:
    code = f"{start}\nimport sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = without & set(ran.stdout.split())
    assert not imported, f"`{start}` imports {sorted(imported)}"


def test_a_lean_import_leaves_out_what_a_library_of_ours_asks_for_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for package in ("for_extras", "extras"):
        (tmp_path / package).mkdir()
    (tmp_path / "extras" / "__init__.py").write_text("from extras import within")
    (tmp_path / "extras" / "within.py").touch()
    (tmp_path / "for_extras" / "__init__.py").write_text(
        "try:\n    import extras.within\nexcept ImportError as error:\n    missing = error.name\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(imports, "NOT_NEEDED", {"extras": frozenset({"for_extras"})})
    try:
        with imports.lean():
            assert not gc.isenabled()
            assert importlib.import_module("for_extras").missing == "extras"
            assert importlib.import_module("extras.within")
    finally:
        gc.unfreeze()
        for name in ("for_extras", "extras", "extras.within"):
            sys.modules.pop(name, None)
    assert gc.isenabled()


def test_a_plugin_of_pydantics_is_loaded_with_all_that_it_imports(tmp_path: Path) -> None:
    """As logfire has one: pydantic loads it at a process's first model, and leaves it out for good when it cannot be imported."""
    (tmp_path / "plugged.py").write_text(
        "import email_validator, rich.console, uvicorn\n"
        "class Plugin:\n    def new_schema_validator(self, *_): return None, None, None\n"
        "plugin = Plugin()\n"
    )
    about = tmp_path / "plugged-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[pydantic]\nplugged = plugged:plugin\n")
    code = "import holdfast_reaper.__main__, sys; print('plugged' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (ran.stdout, ran.stderr) == ("True\n", "")


def test_a_lean_import_that_fails_leaves_nothing_behind() -> None:
    finders = list(sys.meta_path)
    try:
        with pytest.raises(RuntimeError), imports.lean():
            raise RuntimeError
    finally:
        gc.unfreeze()
    assert sys.meta_path == finders
    assert gc.isenabled()
