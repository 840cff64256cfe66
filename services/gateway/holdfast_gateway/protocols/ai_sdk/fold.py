"""The mapping from a run's events to chunks of the AI SDK's UI message stream. Pure: no I/O, no clock.

The chunks are a function of the events alone, so chunk N of a run is the same at every gateway. After each event the client
holds what Holdfast's own folding rule (:mod:`holdfast.runs.fold`) leaves of the run, in the same order.

An SDK step ends only where nothing before it can be dropped any more: at a model step of the run's own line (those in branches
and within other steps may go on side by side), when all that was shown belongs to finished steps. Whatever a takeover, a new try
or a snapshot drops is therefore in the last SDK step, which can be reset (:mod:`canvas`). A run that calls no models but has
many steps ends its SDK step at one of its own line too, so that what may have to be drawn again is bounded.

A run that asks a person ends its answer there (``finish``), as the SDK's client wants it, and what follows the answers is another
*segment*: the part of the run after the attempt that asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from holdfast.runs import EventId
from holdfast.wire.events import Event
from holdfast_gateway.protocols.ai_sdk import tool_outcome
from holdfast_gateway.protocols.ai_sdk.calls import Calls
from holdfast_gateway.protocols.ai_sdk.canvas import Canvas
from holdfast_gateway.protocols.ai_sdk.message import Chunk, Outcome, Tool, Words

_PERSONS = frozenset({"ask", "unknown"})
_SUSPENDED = frozenset({"answered", "woken"})
_WORDS: Mapping[str, Literal["text", "reasoning"]] = {"text.delta": "text", "reasoning.delta": "reasoning"}
_STEPS_MAX = 200  # finished ones in an SDK step; more where they go on side by side
_Placed = tuple[EventId, Mapping[str, Any]]  # a snapshot's step, and where it was finished
ALL = 2**31 - 1
"""Through all attempts: one stream of the whole message."""
_ENDS = {"run.completed": "stop", "run.failed": "error", "run.cancelled": "other"}


class Fold:
    """One stream. Send :meth:`begin`, then what :meth:`apply` returns for each event, until :attr:`over`.

    Attributes:
        over: nothing will follow.
        last: the newest event that was applied.
        asked: the questions that the run asks persons, as far as its events tell.
        renumbered: a gateway had to make a snapshot: the numbers of chunks from here on are this stream's own.
        begins_late: the log begins where its beginning was lost: the numbers hold for those who began there too.
        redrew_all: the last snapshot was drawn within one SDK step, and no client can have had more than that one.
    """

    def __init__(self, run_id: str, *, after: int = 0, through: int = 0) -> None:
        """``after``: the segment that follows this attempt; 0: from the beginning. ``through``: do not end where an attempt up to
        this one asked something that was answered later."""
        self.over = False
        self.last: EventId | None = None
        self.asked: set[str] = set()
        self.renumbered = False
        self.begins_late = False
        self.redrew_all = False
        self._run_id = run_id
        self._after = after
        self._through = max(after, through)
        self._canvas = Canvas(visible=after == 0)
        self._calls = Calls(self._canvas, after=after)
        self._finished: dict[str, EventId] = {}
        self._closed: set[str] = set()
        self._closed_through: EventId | None = None
        self._finished_here = 0  # in the open SDK step
        self._owed: list[Chunk] = []
        self._usage: dict[str | None, tuple[EventId, int, int]] = {}
        self._asked_at: EventId | None = None
        self._interrupted: Mapping[str, Any] | None = None

    # -- what the driver calls -----------------------------------------------------------------------------------------

    def begin(self) -> list[Chunk]:
        """The first chunks, known before any event."""
        return [
            {"type": "start", "messageId": self._run_id, "messageMetadata": {"runId": self._run_id}},
            {"type": "start-step"},
        ]

    def apply(self, event: Event) -> list[Chunk]:
        """The chunks of one event. None for one that was there before, and for all that is not the segment's."""
        if self.over or (self.last is not None and event.id <= self.last and event.type != "snapshot"):
            return []
        if self.last is None or self.last.attempt == 0:
            self.begins_late = event.id > EventId(1, 1)
        if not self._canvas.visible and event.id.attempt > self._after:
            self._keep(event)
            self.asked.clear()
            self._become_visible()
        self.last, self._interrupted = event.id, None
        self._dispatch(event)
        return self._canvas.taken()

    def suspended(self) -> list[Chunk]:
        """The record says that the run waits for what :attr:`asked` holds: the answer ends here, until somebody answers."""
        if not self.over:
            self._become_visible()
            self._finish("tool-calls")
        return self._canvas.taken()

    def ended(self) -> list[Chunk]:
        """The stream of events has come to its clean end. An interruption was the last of them, and nobody has resumed it."""
        if not self.over:
            self._become_visible()
            if self._interrupted is not None:
                at = self.last or EventId(0, 1)
                self._canvas.show("interrupted", at, None, _ways_on(self._run_id, self._interrupted))
            self._finish("other")
        return self._canvas.taken()

    def _become_visible(self) -> None:
        """The segment begins. What came before it stands in the client's message already."""
        if not self._canvas.visible:
            self._close_step(self.last)
            self._canvas.visible = True
            self._pay()

    # -- events --------------------------------------------------------------------------------------------------------

    def _dispatch(self, event: Event) -> None:
        data, at = event.data, event.id
        match event.type:
            case "text.delta" | "reasoning.delta":
                self._canvas.say(_WORDS[event.type], at, data.get("position"), str(data["text"]))
            case "step.started":
                self._begin_step(at, data)
            case "step.completed":
                self._complete_step(at, data)
            case "step.failed" if not data.get("will_retry"):
                self._end_step(str(data["position"]), tool_outcome.of_error(data.get("error"), at, data["position"]))
            case "custom":
                self._canvas.show(str(data["name"]), at, data.get("position"), data.get("data"))
            case "usage":
                self._usage[data.get("position")] = (at, data.get("input_tokens", 0), data.get("output_tokens", 0))
            case "run.waiting":
                self._wait(at, data)
            case "run.resumed":
                self._resume(event)
            case "snapshot":
                self._replace(event)
            case "run.completed" | "run.failed" | "run.cancelled":
                self._keep(event)
                self._end_run(event)
            case "run.interrupted":
                self._keep(event)
                self._interrupted = data

    def _begin_step(self, at: EventId, data: Mapping[str, Any]) -> None:
        position, kind = str(data["position"]), data.get("kind")
        if self._finished.pop(position, None) is not None and position not in self._closed:
            self._finished_here -= 1
        self._canvas.drop(lambda part: part.position == position and not isinstance(part, Tool))
        if self._may_end_before(kind, position) and all(part.kept for part in self._canvas.parts):
            self._next_step(at, of_model=kind == "model")
        if kind == "tool" and data.get("call_id"):
            self._calls.begin(at, position, data)
        if kind != "ask":
            self._calls.go_on(at, position)

    def _may_end_before(self, kind: Any, position: str) -> bool:
        return "." not in position and (kind == "model" or self._finished_here >= _STEPS_MAX)

    def _complete_step(self, at: EventId, data: Mapping[str, Any]) -> None:
        position, output = str(data["position"]), data.get("output")
        if data.get("kind") == "model":
            for call in _calls_in(output):
                self._calls.want(str(call["id"]), str(call["name"]), call.get("input"), at, position)
        self._end_step(position, tool_outcome.of_output(output, at, position))

    def _end_step(self, position: str, outcome: Outcome) -> None:
        if position not in self._finished and position not in self._closed:
            self._finished_here += 1
        self._finished[position] = outcome.at
        self._calls.end(position, outcome)
        self._canvas.settle(position)

    def _wait(self, at: EventId, data: Mapping[str, Any]) -> None:
        if data.get("kind", "ask") in _PERSONS and data.get("question_id"):
            self.asked.add(str(data["question_id"]))
            self._asked_at = at
            self._calls.ask(at, data)

    def _resume(self, event: Event) -> None:
        """Somebody goes on. Drop what is not kept; what was asked before has been answered, or is asked again."""
        keep = _parsed(event.data.get("keep_through"))
        suspended = event.data.get("reason") in _SUSPENDED or (
            keep is not None and self._asked_at is not None and keep >= self._asked_at
        )
        if self.asked and suspended and self._asked_at is not None and self._asked_at.attempt > self._through:
            self._finish("tool-calls")
            return
        self._keep(event)
        if self.asked and suspended:
            self._next_step(event.id, of_model=False)
        self.asked.clear()

    def _end_run(self, event: Event) -> None:
        self._canvas.order_the_rest()
        self._calls.end_the_rest(event.id)
        last: list[Chunk] = []
        if event.type == "run.failed":
            error = event.data.get("error") or {}
            code, message = error.get("code"), error.get("message")
            self._canvas.show("error", event.id, None, {"code": code, "message": message})
            last = [{"type": "error", "errorText": str(message or code or "the run failed")}]
        elif event.type == "run.cancelled":
            last = [{"type": "abort", "reason": "cancelled"}]
        self._finish(_ENDS[event.type], last)

    # -- what is kept --------------------------------------------------------------------------------------------------

    def _keep(self, event: Event) -> None:
        """Drop what a takeover, or an end by somebody else, does not keep."""
        if "keep_through" not in event.data:
            return
        keep = _parsed(event.data["keep_through"])
        self._finished = {position: at for position, at in self._finished.items() if keep is not None and at <= keep}
        self._finished_here = len(self._finished.keys() - self._closed)

        def keeps(position: str | None, at: EventId) -> bool:
            return keep is not None and at <= keep and (position is None or position in self._finished)

        self._usage = {
            position: used
            for position, used in self._usage.items()
            if position in self._closed or keeps(position, used[0])
        }
        # What stands in closed steps was finished. Where nothing of it is kept, the log was lost, and a snapshot follows.
        cut = self._calls.take_back(keeps, closed_too=keep is not None)
        for part in self._canvas.parts:
            if isinstance(part, Words):
                kept = [(at, text) for at, text in part.pieces if keeps(part.position, at)]
                cut = cut or 0 < len(kept) < len(part.pieces)
                part.pieces = kept or part.pieces
        dropped = self._canvas.drop(lambda part: not keeps(part.position, part.began_at), redraw_anyway=cut)
        self._calls.forget(dropped)

    def _next_step(self, at: EventId, *, of_model: bool = True) -> None:
        """What was shown so far is beyond the reach of a reset from now on."""
        if not self._canvas.parts:
            return
        if of_model:
            self._calls.end_the_rest(at, of=self._canvas.parts, refused=True)
        self._canvas.end_all_words()
        self._canvas.emit({"type": "finish-step"}, {"type": "start-step"})
        self._close_step(EventId(at.attempt, at.n - 1))

    def _close_step(self, through: EventId | None) -> None:
        self._canvas.close()
        self._closed |= set(self._finished)
        self._finished_here = 0
        self._closed_through = through

    def _finish(self, reason: str, last: Sequence[Chunk] = ()) -> None:
        metadata: dict[str, Any] = {"runId": self._run_id}
        if self.asked and self._asked_at is not None:
            metadata["attempt"] = (
                self._asked_at.attempt
            )  # so that the post with the answer says how far the client has come
        if self._usage:
            metadata["usage"] = {
                "inputTokens": sum(used[1] for used in self._usage.values()),
                "outputTokens": sum(used[2] for used in self._usage.values()),
            }
        self._canvas.end_all_words()
        finish = {"type": "finish", "finishReason": reason, "messageMetadata": metadata}
        self._canvas.emit({"type": "finish-step"}, *last, finish)
        self.over = True

    # -- snapshots -----------------------------------------------------------------------------------------------------

    def _replace(self, event: Event) -> None:
        """A snapshot replaces everything. What stands in closed SDK steps is in it too, and is not drawn twice."""
        data, run = event.data, event.data.get("run") or {}
        a_gateway_s = "partial" not in data and event.id.attempt > 0
        self.renumbered = self.renumbered or a_gateway_s
        self._finished, self._finished_here = {}, 0
        self.asked.clear()
        self._calls.forget(self._canvas.wipe())
        elsewhere, steps = self._not_closed(data.get("steps", ()), event.id)
        self._know(elsewhere)
        for number, (at, step) in enumerate(steps):
            self._draw_finished(at, step, f"{event.id}/{number}")
        self._usage = {position: used for position, used in self._usage.items() if position in self._finished}
        partial = data.get("partial") or ({"position": None, "text": data.get("partial_text")},)
        for number, each in enumerate(partial, len(steps)):
            if each["text"]:
                pieces = [(event.id, str(each["text"]))]
                self._canvas.add(Words("text", f"{event.id}/{number}", each["position"], pieces, ended=True))
        for wait in run.get("waiting") or ():
            self._wait(event.id, wait)
        models = sum(step.get("kind") == "model" for _, step in steps)
        one_step = models == 0 or (models == 1 and run.get("status") == "completed")
        self.redrew_all = one_step and len(self._finished) < _STEPS_MAX

    def _not_closed(
        self, steps: Sequence[Mapping[str, Any]], snapshot_at: EventId
    ) -> tuple[list[_Placed], list[_Placed]]:
        """Of a snapshot's steps those that are not drawn yet: what the client has from other streams, and this stream's."""
        elsewhere: list[_Placed] = []
        left: list[_Placed] = []
        attempt = 0  # of one whose event the log lost, nobody knows more than that it came after the one before
        for step in steps:
            at = _parsed(step.get("last_event_id"))
            attempt = at.attempt if at is not None else attempt
            closed = step["position"] in self._closed or (
                at is not None and self._closed_through is not None and at <= self._closed_through
            )
            if not closed:
                (elsewhere if self._after and attempt <= self._after else left).append((at or snapshot_at, step))
            elif step["position"] is not None:
                self._finished[step["position"]] = at or snapshot_at
        return elsewhere, left

    def _know(self, steps: Sequence[_Placed]) -> None:
        """What the client has from other streams is drawn where it does not see it: its calls can then be told of their ends."""
        if not steps:
            return
        visible, self._canvas.visible = self._canvas.visible, False
        for number, (at, step) in enumerate(steps):
            self._draw_finished(at, step, f"{at}/{number}")
        calls = [part for part in self._canvas.parts if isinstance(part, Tool) and part.call_id is not None]
        self._canvas.close()
        self._closed |= set(self._finished)
        self._finished_here = 0
        self._canvas.visible = visible
        outcomes = [(call.id, call.outcome) for call in calls if call.outcome is not None]
        self._owed += [outcome.chunk(ident) for ident, outcome in outcomes if outcome.kind == "denied"]
        if visible:
            self._pay()

    def _pay(self) -> None:
        """A call that a person has denied waits for a word. What else was answered, the client shows."""
        self._canvas.emit(*self._owed)
        self._owed = []

    def _draw_finished(self, at: EventId, step: Mapping[str, Any], ident: str) -> None:
        """A finished step of a snapshot; without a position it is text that was shown outside any."""
        position, kind = step["position"], step.get("kind")
        if position is not None and self._may_end_before(kind, position):
            self._next_step(at, of_model=kind == "model")
        if step.get("text"):
            self._canvas.add(Words("text", ident, position, [(at, str(step["text"]))], ended=True))
        if position is not None:
            if kind == "ask" and step.get("input") is not None and not self._calls.asked_at(position):
                # the question's own id is not known any more, and nobody needs it
                self._calls.ask(at, {**step, "question_id": f"asked-{ident}", "question": step["input"]})
            if kind == "tool" and step.get("call_id"):
                self._calls.begin(at, position, step)
            if step.get("status") == "failed":
                self._end_step(position, tool_outcome.of_error(step.get("error"), at, position))
            else:
                self._complete_step(at, step)
        for part in self._canvas.parts:
            part.kept = True


def _parsed(text: Any) -> EventId | None:
    return EventId.parse(text) if text is not None else None


def _calls_in(output: Any) -> Sequence[Mapping[str, Any]]:
    calls = output.get("tool_calls") if isinstance(output, Mapping) else None
    return [call for call in calls if isinstance(call, Mapping) and call.get("id")] if isinstance(calls, list) else []


def _ways_on(run_id: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What somebody may do with a run that was interrupted."""
    actions = {action: f"/v1/runs/{run_id}/{action}" for action in ("resume", "fork", "cancel")}
    return {"runId": run_id, "reason": data.get("reason"), "error": data.get("error"), "actions": actions}
