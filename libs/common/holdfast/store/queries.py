"""The statements in ``sql/``, by name: one file, one atomic statement."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"


@cache
def sql(name: str) -> str:
    """The text of ``sql/<name>.sql``.

    Raises:
        FileNotFoundError: there is no such statement.
    """
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
