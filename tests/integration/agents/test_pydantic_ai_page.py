"""The code on the page about Pydantic AI runs as it stands there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
PAGE = Path(__file__).parents[3] / "docs" / "pydantic_ai.md"
_BLOCK = re.compile(r"^```python title=\"(?P<path>[^\"]+)\"\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A runner with the page's agents."""
    folder = tmp_path_factory.mktemp("page")
    files = {match["path"]: match["code"] for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}
    assert sorted(files) == ["guide.py", "pair.py"]
    for name, code in files.items():
        (folder / name).write_text(code, encoding="utf-8")
    async with Stack() as started:
        await started.add("gateway", "gateway-1")
        agents = ",".join(str(folder / name) for name in files)
        await started.add("runner", "runner-1", {"HOLDFAST_AGENTS": agents})
        yield started


async def test_the_guide_measures_by_itself_and_books_when_it_is_approved(stack: Stack) -> None:
    route = '{"start": "Rome", "end": "Milano"}'
    run = await stack.submit(f"tool:distance_km({route}) tool:book({route}) many:1", agent="guide")
    [question] = (await stack.until_status(run["id"], "waiting"))["waiting"]
    assert question["question"]["tool"] == "book"
    given = await stack.http.post(
        f"{stack.url()}/v1/runs/{run['id']}/answer",
        json={"question_id": question["question_id"], "answer": {"decision": "approve"}},
    )
    assert given.status_code == 202
    ended = await stack.until_status(run["id"], "completed", "failed")
    assert (ended["status"], ended["output"]) == ("completed", "chunk-1 ")
    steps = (await stack.http.get(f"{stack.url()}/v1/runs/{run['id']}/steps")).json()["items"]
    outputs = {step["name"]: step["output"] for step in steps if step["kind"] == "tool"}
    assert outputs["distance_km"] == 20
    assert outputs["book"].startswith(f"seat booked from Rome to Milano, reference {run['id']}/")


async def test_the_pair_drafts_and_criticises(stack: Stack) -> None:
    answer = await stack.http.post(
        f"{stack.url()}/v1/runs", json={"agent": "pair", "input": {"topic": "many:1 the sea"}}
    )
    assert answer.status_code == 202
    ended = await stack.until_status(answer.json()["id"], "completed", "failed")
    five = "chunk-1 chunk-2 chunk-3 chunk-4 chunk-5 "
    assert ended["output"] == {"first": "chunk-1 ", "second": "chunk-1 ", "remarks": five}
