"""What a run has said so far, folded from its events by the one rule that viewers share. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.runs import Fold
from holdfast.runs.fold import ENDING_TYPES, Shown
from holdfast.wire.events import Event
from holdfast_client.models import ErrorShown, Wait

_STATUS_OF = {
    "run.queued": "queued",
    "run.started": "running",
    "run.resumed": "running",
    "run.waiting": "waiting",
    **{ending: ending.removeprefix("run.") for ending in ENDING_TYPES},
}
_LEAVES_TEXT = frozenset({"run.queued", "run.started", "run.waiting", "reasoning.delta", "usage", "custom"})


@dataclass(frozen=True, slots=True)
class Transcript:
    """A run as a viewer shows it.

    Attributes:
        text: the answer as it stands.
        items: the events that still count, in order; after a snapshot, the text of its steps alone.
        status: the run's, as its events tell: ``queued``, ``running``, ``waiting``, or how it ended.
        output: what a completed run returned.
        error: why it failed, or was interrupted.
        waiting: what it waits for.
    """

    text: str = ""
    items: tuple[Shown, ...] = ()
    status: str = "queued"
    output: Any = None
    error: ErrorShown | None = None
    waiting: tuple[Wait, ...] = ()

    @property
    def questions(self) -> tuple[Wait, ...]:
        """What a person is asked."""
        return tuple(wait for wait in self.waiting if wait.is_question)


class Transcribing:
    """Makes transcripts: ``take`` every event, then ``transcript``."""

    def __init__(self) -> None:
        self._fold = Fold()
        self._text: str | None = ""  # None: to be asked for, which costs the fold's length
        self._more: list[str] = []  # came after it: new text is last
        self._status = "queued"
        self._waiting: dict[str, Wait] = {}

    def take(self, event: Event) -> bool:
        """Fold one event in. False: it was a duplicate."""
        if not self._fold.apply(event.id, event.type, event.data):
            return False
        if event.type == "text.delta":
            if self._text is not None:
                self._more.append(str(event.data["text"]))
        elif event.type not in _LEAVES_TEXT:
            self._text, self._more = None, []
        self._status = _STATUS_OF.get(event.type, self._status)
        self._take_waits(event)
        return True

    def _take_waits(self, event: Event) -> None:
        match event.type:
            case "run.waiting":
                wait = Wait.model_validate(event.data)
                self._waiting[wait.position] = wait
            case "snapshot":
                run: Mapping[str, Any] = event.data.get("run") or {}
                self._status = str(run.get("status") or self._status)
                waits = map(Wait.model_validate, run.get("waiting") or ())
                self._waiting = {wait.position: wait for wait in waits}
            case "step.completed" | "step.failed":
                self._waiting.pop(str(event.data.get("position")), None)
            case "run.started" | "run.resumed":
                self._waiting.clear()
            case ending if ending in ENDING_TYPES:
                self._waiting.clear()

    @property
    def transcript(self) -> Transcript:
        """As it stands."""
        if self._text is None:
            self._text = self._fold.text
        elif self._more:
            self._text, self._more = "".join((self._text, *self._more)), []
        ending = self._fold.ending
        data: Mapping[str, Any] = ending.data if ending is not None else {}
        return Transcript(
            text=self._text,
            items=tuple(self._fold.items),
            status=self._status,
            output=data.get("output"),
            error=_error(data),
            waiting=tuple(self._waiting.values()),
        )


def _error(data: Mapping[str, Any]) -> ErrorShown | None:
    """Of a failed run, and of an interrupted one, whose event has a reason, and may have an error."""
    if error := data.get("error"):
        return ErrorShown.model_validate(error)
    return ErrorShown(code=str(data["reason"])) if data.get("reason") else None
