"""The page on clients shows the examples as they are, all of them, and links to what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "connect_your_client.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```\w+ title=\"(?P<path>[^\"]+)\"\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_example_is_on_the_page_as_it_is_and_nothing_else() -> None:
    shown = {match["path"]: match["code"] for match in _BLOCK.finditer(PAGE)}
    clients = [path for path in (ROOT / "examples" / "clients").iterdir() if path.is_file()]
    assert len(clients) >= 7
    assert shown == {f"examples/clients/{path.name}": path.read_text(encoding="utf-8") for path in clients}


def test_pages_and_folders_that_are_named_exist() -> None:
    linked = re.findall(r"\]\((?!http|#)([^)#]+)", PAGE)
    assert linked
    assert [each for each in linked if not (ROOT / "docs" / each).exists()] == []
