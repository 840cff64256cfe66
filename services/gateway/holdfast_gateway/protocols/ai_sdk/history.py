"""The thread's transcript as UI messages of the AI SDK, for ``useChat({messages})``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from holdfast.runs import EventId
from holdfast.store import MessageRow, RunRow
from holdfast_gateway.protocols.ai_sdk import tool_outcome
from holdfast_gateway.protocols.ai_sdk.chats import message_id_of

_NOWHERE = EventId(0, 1)


def ui_messages(rows: Iterable[MessageRow], runs: Mapping[UUID, RunRow]) -> Iterator[dict[str, Any]]:
    """Messages with the ids that the stream and the client gave them. An answer that was given anew is left out."""
    for row in rows:
        run = runs.get(row.run_id)
        if row.replaced_by is not None or row.role not in ("system", "user", "assistant"):
            continue
        if row.role == "assistant":
            parts = [{"type": "step-start"}, *_answer(row.parts)]
            ident = str(row.id if _is_copied(row, run) else row.run_id)
            yield {"id": ident, "role": "assistant", "parts": parts, "metadata": {"runId": str(row.run_id)}}
            continue
        yield {"id": _id_of_said(row, run), "role": row.role, "parts": [*map(_said, row.parts)]}


def _id_of_said(row: MessageRow, run: RunRow | None) -> str:
    """The page's own id, of what a page said. Else one that tells the run, for who wants the answer given anew."""
    if _is_copied(row, run):
        return str(row.id)
    told = message_id_of(run) if run is not None and row.role == "user" else None
    return told or f"{row.run_id}:{row.seq}"


def _is_copied(row: MessageRow, run: RunRow | None) -> bool:
    """Was it copied for a fork on a thread of its own? What that one says itself is younger than it is."""
    return run is not None and run.forked_from is not None and row.created_at < run.created_at


def _said(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "text", "text": str(part.get("text", ""))}
    return dict(part) if part.get("type") == "file" else {"type": f"data-{part.get('type')}", "data": dict(part)}


def _answer(parts: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    parts = list(parts)
    results: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        if part.get("type") == "tool-result":
            results.setdefault(str(part.get("tool_call_id")), []).append(part)
    for part in parts:
        match part.get("type"):
            case "text":
                yield {"type": "text", "text": str(part.get("text", "")), "state": "done"}
            case "tool-call":
                found = results.get(str(part.get("tool_call_id")))
                yield _call(part, found.pop(0) if found else {})
            case "error":
                yield {"type": "data-error", "data": {"code": part.get("code"), "message": part.get("message")}}


def _call(call: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    ident = str(call.get("tool_call_id"))
    shown: dict[str, Any] = {
        "type": f"tool-{call.get('tool_name')}",
        "toolCallId": ident,
        "input": call.get("input"),
        "providerExecuted": True,
    }
    if result.get("status") == "completed":
        outcome = tool_outcome.of_output(result.get("output"), _NOWHERE, None)
    else:
        outcome = tool_outcome.of_error(result.get("error"), _NOWHERE, None)
    match outcome.kind:
        case "available":
            return {**shown, "state": "output-available", "output": outcome.value}
        case "denied":
            return {**shown, "state": "output-denied", "approval": {"id": ident, "approved": False}}
    return {**shown, "state": "output-error", "errorText": outcome.value}
