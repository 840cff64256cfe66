"""Random histories of a run, as its owners would write them: steps, tries, steps side by side, takeovers, snapshots, ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from holdfast.runs import EventId
from holdfast.wire.events import Event

CRASHES_MAX = 4


class _Crashed(Exception):
    """The owner is gone."""


class _Stopped(Exception):
    """The run ends here, whatever it was at."""


@dataclass
class History:
    """``events`` is the log. What is finished survives a crash, but for what was finished last: that may not be committed yet."""

    random: Random
    events: list[Event] = field(default_factory=list)
    _attempt: int = 0
    _n: int = 0
    _crashes: int = 0
    _done: dict[str, dict[str, Any]] = field(default_factory=dict)
    _uncommitted: list[str] = field(default_factory=list)
    _outside: list[str] = field(default_factory=list)
    _outside_seen: int = 0
    _said: int = 0

    @property
    def made(self) -> set[str]:
        """The calls that were made, and whose results the record has."""
        return {str(step["call_id"]) for step in self._done.values() if step["call_id"] is not None}

    def run(self) -> list[Event]:
        """A whole run: what the agent does is the same at each attempt."""
        plan = [
            self.random.choice(["model", "model", "side", "text", "tool"]) for _ in range(self.random.randint(1, 6))
        ]
        sizes = [self.random.randint(0, 4) for _ in range(40)]
        while True:
            self._attempt, self._n = self._attempt + 1, 0
            try:
                self._resume()
                self._outside_seen = 0
                for number, what in enumerate(plan):
                    self._item(str(number), what, sizes[number * 3 :])
                break
            except _Crashed:
                continue
            except _Stopped:
                break
        self._end()
        return self.events

    def _emit(self, event_type: str, data: dict[str, Any], *, may_crash: bool = True) -> EventId:
        self._n += 1
        self.events.append(Event(EventId(self._attempt, self._n), event_type, data))
        if may_crash and self._crashes < CRASHES_MAX and self.random.random() < 0.04:
            self._crashes += 1
            raise _Crashed
        if may_crash and self.random.random() < 0.01:
            raise _Stopped
        return EventId(self._attempt, self._n)

    def _resume(self) -> None:
        if self._attempt == 1:
            self._emit("run.started", {}, may_crash=False)
            return
        if self._uncommitted and self.random.random() < 0.5:
            for position in self._uncommitted:
                self._done.pop(position, None)
        self._uncommitted = []
        kept = [EventId.parse(step["last_event_id"]) for step in self._done.values()]
        keep = max(kept, default=None)
        self._outside = self._outside[: max((step["outside"] for step in self._done.values()), default=0)]
        lost = self.random.random() < 0.15
        told = {
            "reason": "log_lost" if lost else "owner_lost",
            "keep_through": None if lost or keep is None else str(keep),
        }
        self._emit("run.resumed", told, may_crash=False)
        if lost:
            ordered = sorted(self._done.values(), key=lambda step: EventId.parse(step["last_event_id"]))
            steps = [{key: value for key, value in step.items() if key != "outside"} for step in ordered]
            data = {"run": {"status": "running"}, "steps": steps, "partial_text": "", "partial": []}
            self._emit("snapshot", data, may_crash=False)

    def _item(self, position: str, what: str, sizes: list[int]) -> None:
        match what:
            case "text":
                for _ in range(sizes[0]):
                    self._outside_seen += 1
                    if self._outside_seen > len(self._outside):
                        self._outside.append("o")
                        self._emit("text.delta", {"position": None, "text": self._words("o")})
            case "side":
                self._side_by_side(position, sizes)
            case _:
                self._step(position, what, sizes[0])

    def _begin(self, position: str, kind: str) -> None:
        self._uncommitted = []  # whoever begins a step has seen the one before committed
        data = {"position": position, "kind": "tool" if kind == "side" else kind, "name": kind}
        self._emit("step.started", {**data, **({"call_id": f"call-{position}"} if kind == "tool" else {})})

    def _finish(self, position: str, kind: str) -> None:
        calls = [{"id": f"call-{position}-{n}", "name": "t", "input": {}} for n in range(self.random.randint(0, 2))]
        output = {"tool_calls": calls} if kind == "model" else "done"
        shown = {"position": position, "kind": "tool" if kind == "side" else kind, "name": kind, "output": output}
        at = EventId(self._attempt, self._n + 1)
        self._done[position] = {
            **shown,
            "status": "completed",
            "call_id": f"call-{position}" if kind == "tool" else None,
            "input": None,
            "error": None,
            "text": self._merged(position),
            "last_event_id": str(at),
            "outside": len(self._outside),
        }
        self._uncommitted.append(position)
        self._emit("step.completed", shown)

    def _step(self, position: str, kind: str, size: int) -> None:
        if position in self._done:
            return
        for trial in range(3):
            self._begin(position, kind)
            for _ in range(size):
                self._emit("text.delta", {"position": position, "text": self._words(position)})
            if trial < 2 and self.random.random() < 0.2:
                self._emit("step.failed", {"position": position, "error": {"code": "x"}, "will_retry": True})
                continue
            break
        if self.random.random() < 0.5:
            self._emit("custom", {"position": position, "name": "mark", "data": 1})
        self._finish(position, kind)

    def _side_by_side(self, group: str, sizes: list[int]) -> None:
        left = {f"{group}.{n}": 1 + sizes[n] for n in range(3) if f"{group}.{n}" not in self._done}
        for position in left:
            committed = list(self._uncommitted)
            self._begin(position, "side")
            self._uncommitted = committed
        while left:
            position = self.random.choice(sorted(left))
            left[position] -= 1
            if left[position]:
                self._emit("text.delta", {"position": position, "text": self._words(position)})
            else:
                del left[position]
                self._finish(position, "side")

    def _words(self, position: str) -> str:
        self._said += 1
        return f"{position}:{self._said} "

    def _merged(self, position: str) -> str:
        """The step's text, and what was said outside of steps since the last one finished: as the record has it."""
        told: list[str] = []
        for event in self.events:
            at = event.data.get("position")
            match event.type:
                case "run.resumed" | "snapshot":
                    told = []
                case "step.started" if at == position:
                    told = [piece for piece in told if not piece.startswith(f"{position}:")]
                case "text.delta" if at in (None, position):
                    told.append(str(event.data["text"]))
                case "step.completed":
                    told = [piece for piece in told if not piece.startswith("o:")]
        return "".join(told)

    def _end(self) -> None:
        kind = self.random.choice(["run.completed", "run.completed", "run.failed", "run.cancelled"])
        data: dict[str, Any] = {"error": {"code": "e", "message": "m"}} if kind == "run.failed" else {}
        if self.random.random() < 0.2:
            self._attempt, self._n = self._attempt + 1, 0
            kept = [EventId.parse(step["last_event_id"]) for step in self._done.values()]
            data["keep_through"] = str(max(kept)) if kept else None
        self._emit(kind, data, may_crash=False)
