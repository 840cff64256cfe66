"""What a child sends, and what it is told: read leniently, put in words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from holdfast_agent.acp.continuation import first_prompt, loaded_prompt, retold_prompt
from holdfast_agent.acp.permission import permission_of, request_of
from holdfast_agent.acp.story import CallItem, SaidItem, Sitting, Story
from holdfast_agent.acp.transport import Asked, Closed, LineTransport, Update
from holdfast_agent.acp.updates import ToolCall, cleaned, shortened
from holdfast_agent.backend import Said


class _Writer:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        self.sent.append(json.loads(line))

    async def drain(self) -> None:
        return


async def _read(*lines: bytes) -> tuple[list[Any], list[Any], list[dict[str, Any]]]:
    """What was delivered, what the library was given, what was sent."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(lines))
    reader.feed_eof()
    delivered: list[Any] = []

    async def deliver(said: Any) -> None:
        delivered.append(said)

    writer = _Writer()
    transport = LineTransport(reader, writer, deliver)  # type: ignore[arg-type]  # what it needs of one
    given = []
    while (message := await transport.receive()) is not None:
        given.append(message)
    return delivered, given, writer.sent


def _line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def test_updates_keep_their_order_and_unknown_kinds_pass() -> None:
    updates: list[dict[str, Any]] = [
        {"sessionUpdate": "from_the_future", "x": 1},
        {"sessionUpdate": "plan", "entries": []},
    ]
    delivered, given, _ = await _read(
        b"a banner, not JSON\n",
        *(
            _line({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": each}})
            for each in updates
        ),
        _line({"jsonrpc": "2.0", "id": 0, "result": {}}),
        b"[1, 2]\n",
    )
    assert delivered == [Update("s", updates[0]), Update("s", updates[1]), Closed()]
    assert given == [{"jsonrpc": "2.0", "id": 0, "result": {}}]


async def test_a_permission_request_is_delivered_and_a_broken_one_answered() -> None:
    asked = {"toolCall": {"toolCallId": "c"}, "options": [{"optionId": "y"}, "no option"]}
    delivered, given, sent = await _read(
        _line({"jsonrpc": "2.0", "id": 7, "method": "session/request_permission", "params": asked}),
        _line({"jsonrpc": "2.0", "id": 8, "method": "session/request_permission", "params": {"toolCall": {}}}),
    )
    assert delivered[0] == Asked(7, {"toolCallId": "c"}, ({"optionId": "y"},))
    assert [message["id"] for message in sent] == [8]
    assert given == []


async def test_a_message_without_an_end_is_not_kept_in_memory() -> None:
    delivered, _, _ = await _read(b"x" * (33 * 1024 * 1024))
    assert isinstance(delivered[0], Closed)
    assert "bytes" in str(delivered[0].why)


def test_what_the_record_cannot_hold_is_mended() -> None:
    assert cleaned({"a\x00": ["\ud800", "\U0001f600"]}) == {"a\ufffd": ["\ufffd", "\U0001f600"]}


def test_long_values_are_shown_by_their_beginning() -> None:
    short = shortened({"content": "x" * 100_000})
    assert short["chars"] > 100_000
    assert len(short["shortened"]) == 40_000


def test_a_call_is_put_together_from_its_updates() -> None:
    call = ToolCall("c1")
    call.merge({"title": "Edit", "kind": "edit", "rawInput": {"path": "a"}, "status": "pending"})
    call.merge({"status": "completed", "content": [{"type": "diff", "path": "a", "newText": "x"}], "rawInput": None})
    assert (call.name, call.raw_input, call.ended) == ("Edit", {"path": "a"}, True)
    assert call.result["text"] == "changed a"
    assert call.result["diffs"][0]["newText"] == "x"


def test_a_call_id_that_was_used_gets_another_key() -> None:
    story = Story()
    assert [story.fresh_call_id("c1") for _ in range(3)] == ["c1", "c1#2", "c1#3"]
    assert story.fresh_call_id("acp:turn-1") == "call:acp:turn-1"


def test_the_first_prompt_holds_what_was_said_on_the_thread() -> None:
    history = [Said("user", [{"type": "text", "text": "hi"}]), Said("assistant", [{"type": "text", "text": "hello"}])]
    prompt = first_prompt({"messages": [{"role": "user", "content": "and now?"}]}, history)
    assert "user: hi\nassistant: hello" in prompt
    assert prompt.endswith("and now?")
    assert first_prompt({"prompt": "do it"}, []) == "do it"
    assert first_prompt("do it", []) == "do it"


def test_a_new_session_is_told_what_was_asked_done_denied_and_not_known() -> None:
    done = CallItem(ToolCall("c1", title="Write", raw_input={"path": "a"}), "completed", "wrote a")
    lost = CallItem(ToolCall("c2", title="Push"), "unknown", "nobody knows")
    request = request_of(ToolCall("c3", title="Delete"), [{"optionId": "n", "kind": "reject_once", "name": "No"}])
    denied = permission_of(request, {"decision": "deny", "reason": "never on Fridays"})
    cut = Sitting("the task", "cut", frozenset(), [SaidItem("Let me see."), done, lost])
    prompt = retold_prompt([cut], [lost], [denied], "?", cut=True)
    told = (
        "the task",
        "you said: Let me see.",
        "tool call 'Write' {'path': 'a'} completed: wrote a",
        "'Push'",
        "may or may not",
        "'Delete': denied. The reason: never on Fridays",
        "do not repeat",
        "look whether",
    )
    assert [part for part in told if part not in prompt] == []


def test_a_loaded_session_is_told_what_it_lacks() -> None:
    behind = CallItem(ToolCall("c1", title="Write"), "completed", "wrote a")
    assert "'Write'" in loaded_prompt([behind], [], [], cut=False)
    assert "look whether" in loaded_prompt([], [], [], cut=True)
    assert "look whether" not in loaded_prompt([], [], [], cut=False)


def test_a_long_journal_is_told_by_its_newest_part() -> None:
    sitting = Sitting("the task", "cut", frozenset(), [SaidItem(f"number {n} {'x' * 1000}") for n in range(200)])
    prompt = retold_prompt([sitting], [], [], "?", cut=False)
    assert len(prompt) < 45_000
    assert "number 199" in prompt
    assert "number 1 " not in prompt
