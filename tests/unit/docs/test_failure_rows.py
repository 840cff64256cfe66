"""Every failure that Holdfast claims to survive has a test whose name carries its row, and the page lists exactly those tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "failures.md"
_TEST = re.compile(r"^(?:async )?def (test_(f\d\d(?:_f\d\d)*)_\w+)", re.MULTILINE)
_ROW = re.compile(r"^\| (F\d\d) \|", re.MULTILINE)


def rows_tested() -> dict[str, list[str]]:
    """Row -> the files that test it, below tests/."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for match in _TEST.finditer(path.read_text(encoding="utf-8")):
            for row in match[2].split("_"):
                found.setdefault(row.upper(), set()).add(path.relative_to(ROOT / "tests").as_posix())
    return {row: sorted(paths) for row, paths in found.items()}


def test_every_row_of_the_page_has_a_test_by_its_name() -> None:
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) > 30
    assert [row for row in rows if row not in rows_tested()] == []


def test_the_page_has_every_row_that_is_tested() -> None:
    assert sorted(set(rows_tested()) - set(_ROW.findall(PAGE.read_text(encoding="utf-8")))) == []
