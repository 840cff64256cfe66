"""A followed run in a terminal, or in a pipe. Knows no network: it is handed the events.

Three ways to show one:

- live (standard output is a terminal): text as it streams; while several steps run side by side, that of each when it has
  finished, since that is its place in the answer. Text that viewers must drop cannot be taken off a terminal, so a line says so
  and what is kept is shown again: the whole answer always stands below the last such line.
- held (standard output is a pipe or a file): nothing before the run has ended, then its answer, once. The text of a finished step
  can still be dropped, since its event is sent before the record holds it, and then it is shown anew.
- json: every event as it comes, one per line; whoever reads them applies the folding rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from pydantic_core import to_json

from holdfast.runs import Fold
from holdfast.runs.fold import ENDING_TYPES
from holdfast.wire.events import Event
from holdfast_local.listing import printable
from holdfast_local.questions import asked, how_to_answer, is_alone, is_question, way_on

EXIT_CODES = {"completed": 0, "failed": 1, "cancelled": 3, "interrupted": 4}
_MAY_CHANGE_TEXT = ("run.", "step.started", "snapshot")


class Show(Enum):
    """How a run is shown."""

    LIVE = "live"
    HELD = "held"
    JSON = "json"


class Follower:
    """Shows one run: ``take`` every event, then ``end``.

    ``write`` puts text on standard output as it is; ``note`` and ``verdict`` put a line on standard error, of what happens on the
    way and of an end that is not completion. ``from_start`` is False when earlier events were left out on purpose. ``run_id``
    stands in the commands that notes name; by default it is learned from the run's first event.
    """

    def __init__(
        self,
        show: Show,
        *,
        write: Callable[[str], None],
        note: Callable[[str], None],
        verdict: Callable[[str], None],
        from_start: bool = True,
        run_id: str = "RUN",
    ) -> None:
        self._show = show
        self._write = write
        self._note = note
        self._verdict = verdict
        self._from_start = from_start
        self._run_id = run_id
        self._fold = Fold()
        self._drawn: list[str] = []
        self._open: set[str] = set()
        self._at_line_start = True

    @property
    def outcome(self) -> Mapping[str, Any] | None:
        """How the run ended: ``status`` with output, error or reason. None while its events do not tell."""
        ending = self._fold.ending
        return None if ending is None else {**ending.data, "status": ending.type.removeprefix("run.")}

    def take(self, event: Event) -> None:
        """Show one event."""
        if self._show is Show.JSON:
            self._write(to_json({"id": str(event.id), "type": event.type, "data": event.data}).decode() + "\n")
        if not self._fold.apply(event.id, event.type, event.data):
            return
        if event.type in ("run.queued", "run.started", "run.resumed"):
            self._run_id = event.data.get("run_id") or self._run_id
        side_by_side = len(self._open) > 1
        self._open = open_steps(self._open, event)
        if self._show is Show.LIVE and event.type == "text.delta":
            if len(self._open) < 2:
                self._draw(str(event.data["text"]))
        elif self._show is Show.LIVE and (event.type.startswith(_MAY_CHANGE_TEXT) or side_by_side):
            self._redraw(words_for(event, self._run_id), ending=event.type in ENDING_TYPES)
        elif words := words_for(event, self._run_id):
            self.say(words)

    def say(self, words: str) -> None:
        """A note, on a line of its own."""
        self._end_line()
        self._note(printable(words))

    def end(self, outcome: Mapping[str, Any]) -> int:
        """The stream has ended, and ``outcome`` (or the run as the record has it) says how. Returns the exit code."""
        if self._show is not Show.JSON:
            if not self._drawn:
                self._draw(self._fold.text or (_output_text(outcome.get("output")) if self._from_start else ""))
            self._end_line()
        status = outcome["status"]
        error = outcome.get("error")
        if error:
            self._verdict(printable(f"{status}: {error.get('code')}: {error.get('message')}"))
        elif status != "completed":
            self._verdict(printable(f"{status}: {outcome['reason']}" if outcome.get("reason") else status))
        if status == "interrupted":
            self._note(way_on(str(outcome.get("id", self._run_id)), error))
        return EXIT_CODES.get(status, 1)

    def _draw(self, text: str) -> None:
        if text:
            self._write(printable(text, keep="\n\t") if self._show is Show.LIVE else text)
            self._drawn.append(text)
            self._at_line_start = text.endswith("\n")

    def _redraw(self, words: str, *, ending: bool) -> None:
        """Bring the terminal to the text as it stands now."""
        drawn, text = "".join(self._drawn), self._fold.text
        moving = 0 if ending else self._may_move()
        if not text.startswith(drawn):
            replaced = "the text above was not kept" if ending and not text else "what follows replaces the text above"
            words = f"{words}; {replaced}" if words else replaced
            drawn, self._drawn = "", []
        if words:
            self.say(words)
        self._draw(text[len(drawn) : len(text) - moving])

    def _may_move(self) -> int:
        """The length of the text at the end whose place depends on which of the open steps finishes first."""
        if len(self._open) < 2:
            return 0
        length, behind_the_last_finish = 0, True
        for item in reversed(self._fold.items):
            if item.type == "text.delta":
                if not item.settled and (
                    item.position in self._open or (item.position is None and behind_the_last_finish)
                ):
                    length += len(str(item.data["text"]))
            elif item.type in ("step.completed", "step.failed") and item.position not in self._open:
                behind_the_last_finish = False
        return length

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")
            self._at_line_start = True


def open_steps(before: set[str], event: Event) -> set[str]:
    """The steps that have begun and not finished, after this event."""
    position = str(event.data.get("position"))
    match event.type:
        case "step.started":
            return before | {position}
        case "step.completed":
            return before - {position}
        case "step.failed" if not event.data.get("will_retry"):
            return before - {position}
        case "snapshot":
            return {part["position"] for part in event.data.get("partial") or () if part["position"] is not None}
        case "run.resumed":
            return set()
    return before


def words_for(event: Event, run_id: str) -> str:
    """What a reader of the text is told about an event; mostly nothing."""
    data = event.data
    match event.type:
        case "run.queued" if data.get("position", 1) > 1:
            return f"waits for {data['position'] - 1} earlier of its thread"
        case "run.resumed":
            return _resumed(data)
        case "run.waiting":
            return _waiting(data, run_id)
        case "snapshot":  # what the log has lost of a waiting run
            return "; ".join(_waiting(wait, run_id) for wait in (data.get("run") or {}).get("waiting") or ())
        case "step.failed" if data.get("will_retry"):
            error = data.get("error") or {}
            return f"{error.get('code')}: {error.get('message')}; trying again"
    return ""


def _waiting(data: Mapping[str, Any], run_id: str) -> str:
    if not is_question(data):
        return f"waits for {asked(data)}"
    alone = is_alone(str(data["position"]))
    return f"waits for an answer: {asked(data)}; answer with {how_to_answer(run_id, data, alone=alone)}"


def _resumed(data: Mapping[str, Any]) -> str:
    before, now = data.get("from_pod") or "its runner", data.get("pod")
    match data.get("reason"):
        case "owner_lost":
            return f"{before} was lost; {now} goes on from here"
        case "released":
            return f"{before} handed over; {now} goes on from here"
        case "answered":
            return f"it was answered; {now} goes on from here"
        case "woken":
            return f"what it waited for is over; {now} goes on from here"
        case "resumed":
            return f"it was resumed; {now} goes on from here"
        case "log_lost":
            return f"events were lost; {now} goes on from what the record holds"
        case reason:
            return f"{reason}; {now} goes on from here"


def _output_text(output: Any) -> str:
    """An output for people: a text as it is, anything else as JSON."""
    match output:
        case None:
            return ""
        case str() as text:
            return text
        case {"text": str() as text, **rest} if not rest:
            return text
    return to_json(output).decode()
