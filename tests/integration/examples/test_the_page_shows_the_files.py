"""The tutorial shows the agents' files as they are, all of them, and in one place each."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "write_an_agent.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```python(?: title=\"(?P<path>[^\"]+)\")?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_agent_on_the_page_is_a_file_and_every_file_is_on_the_page() -> None:
    shown = {match["path"]: match["code"] for match in _BLOCK.finditer(PAGE) if match["path"]}
    files = {f"examples/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")}
    assert len(shown) == 6
    assert shown == files


def test_no_agent_stands_on_the_page_that_is_not_a_file() -> None:
    parts = [match["code"] for match in _BLOCK.finditer(PAGE) if not match["path"]]
    assert parts
    assert [code for code in parts if "@agent" in code] == []


def test_parts_of_agents_are_python() -> None:
    for match in _BLOCK.finditer(PAGE):
        wrapped = "async def part():\n" + "".join(f"    {line}\n" for line in match["code"].splitlines())
        compile(wrapped, str(match["path"]), "exec")


def test_pages_and_folders_that_are_named_exist() -> None:
    linked = re.findall(r"\]\((?!http|#)([^)#]+)", PAGE)
    assert linked
    assert [each for each in linked if not (ROOT / "docs" / each).exists()] == []
