"""A message as the AI SDK's client builds it from chunks: a double of ``processUIMessageStream`` (npm ``ai`` 7), as strict.

``tests/integration/ai_sdk/test_golden_by_the_sdk.py`` holds it against the real one.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast_gateway.protocols.ai_sdk.message import Chunk


class SdkMessage:
    """``parts`` are what a page draws."""

    def __init__(self) -> None:
        self.parts: list[Chunk] = []
        self.finished = False
        self.error: str | None = None
        self._open: dict[tuple[str, str], Chunk] = {}

    def take(self, chunks: Iterable[Chunk]) -> None:
        """Apply chunks. KeyError: one is about a part that was never begun, at which the client throws."""
        for chunk in chunks:
            assert not self.finished, f"{chunk} after finish"
            self._take(chunk)

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(part["text"] for part in self.parts if part["type"] == "text")

    def _take(self, chunk: Chunk) -> None:
        kind, _, what = chunk["type"].partition("-")
        match chunk["type"]:
            case "text-start" | "reasoning-start":
                part = {"type": kind, "text": "", "state": "streaming"}
                self._open[kind, chunk["id"]] = part
                self.parts.append(part)
            case "text-delta" | "reasoning-delta":
                self._open[kind, chunk["id"]]["text"] += chunk["delta"]
            case "text-end" | "reasoning-end":
                self._open.pop((kind, chunk["id"]))["state"] = "done"
            case "tool-input-start" | "tool-input-available":
                self._take_call(chunk)
            case "tool-approval-request":
                self._tool(chunk["toolCallId"]).update(state="approval-requested", approval={"id": chunk["approvalId"]})
            case "tool-approval-response":
                part = next(
                    part for part in self.parts if (part.get("approval") or {}).get("id") == chunk["approvalId"]
                )
                part.update(state="approval-responded")
            case "tool-output-available":
                self._tool(chunk["toolCallId"]).update(state="output-available", output=chunk["output"])
            case "tool-output-error":
                self._tool(chunk["toolCallId"]).update(state="output-error", errorText=chunk["errorText"], output=None)
            case "tool-output-denied":
                self._tool(chunk["toolCallId"]).update(state="output-denied")
            case "start-step":
                self.parts.append({"type": "step-start"})
            case "reset-step":
                self._open.clear()
                del self.parts[self._step_begins() :]
            case "finish":
                self.finished = True
            case "error":
                self.error = chunk["errorText"]
            case "start" | "finish-step" | "abort":
                pass
            case _:
                assert kind == "data", chunk
                self._take_data(chunk)
        assert what or kind in ("start", "finish", "error", "abort"), chunk

    def _step_begins(self) -> int:
        starts = [index for index, part in enumerate(self.parts) if part["type"] == "step-start"]
        return starts[-1] + 1 if starts else 0

    def _take_call(self, chunk: Chunk) -> None:
        for part in self.parts[self._step_begins() :]:
            if part.get("toolCallId") == chunk["toolCallId"]:
                break
        else:
            part = {"type": f"tool-{chunk['toolName']}", "toolCallId": chunk["toolCallId"]}
            self.parts.append(part)
        part["state"] = "input-available" if "input" in chunk else "input-streaming"
        part["input"] = chunk.get("input")
        part["providerExecuted"] = chunk["providerExecuted"]

    def _tool(self, tool_call_id: str) -> Chunk:
        for part in reversed(self.parts):
            if part.get("toolCallId") == tool_call_id:
                return part
        raise KeyError(tool_call_id)

    def _take_data(self, chunk: Chunk) -> None:
        for part in self.parts:
            if part["type"] == chunk["type"] and chunk.get("id") is not None and part.get("id") == chunk["id"]:
                part["data"] = chunk["data"]
                return
        self.parts.append(dict(chunk))
