"""The folding rule of a stream: what a viewer shows after reading events in order.

Clients and tests use this one rule (``wire.md``): an id not above the last one seen is a duplicate, ``run.resumed`` truncates,
``step.started`` of a known position begins that position anew, ``snapshot`` replaces everything, the last id too. The record
holds the answer by the same rule as :attr:`Fold.text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.runs.event_id import EventId

TERMINAL_TYPES = frozenset({"run.completed", "run.failed", "run.cancelled"})
ENDING_TYPES = TERMINAL_TYPES | {"run.interrupted"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One event that a viewer still shows. ``position`` is None for what was emitted outside any step.

    ``settled`` marks the text of a snapshot's steps: its place in the answer is the snapshot's.
    """

    id: EventId
    type: str
    position: str | None
    data: Mapping[str, Any]
    settled: bool = False


@dataclass(slots=True)
class Fold:
    """A viewer's state. Feed it every event with :meth:`apply`; read ``text``, ``items`` and ``ending``."""

    items: list[Shown] = field(default_factory=list)
    last_id: EventId | None = None
    ending: Shown | None = None
    _finished: dict[str, EventId] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)  # positions that items may have: only then is one begun anew

    def apply(self, event_id: EventId, event_type: str, data: Mapping[str, Any]) -> bool:
        """Fold one event in. Returns False for a duplicate, which changes nothing.

        A snapshot is never one: a log that has lost its end is behind the cursor of who comes back, and so is its snapshot.
        """
        if self.last_id is not None and event_id <= self.last_id and event_type != "snapshot":
            return False
        self.last_id = event_id
        self.ending = None
        position = data.get("position") if event_type != "run.queued" else None
        shown = Shown(event_id, event_type, position, data)
        if event_type == "snapshot":
            self._replace(event_id, data)
        elif event_type == "run.resumed" or event_type in ENDING_TYPES:
            self._end_or_resume(shown)
        elif event_type.startswith("run."):
            pass
        else:
            self._show(shown)
        return True

    @property
    def text(self) -> str:
        """The answer as it stands.

        The text of a step counts where the step finished, so that steps side by side are not mixed; text outside any step
        goes with the step that finishes next; what belongs to no finished step comes last, in order.
        """
        settled: list[str] = []
        pending: list[tuple[str | None, str]] = []
        for item in self.items:
            if item.type == "text.delta":
                if item.settled:
                    settled.append(str(item.data["text"]))
                else:
                    pending.append((item.position, str(item.data["text"])))
            elif item.position is not None and _finishes(item):
                settled.extend(said for at, said in pending if at in (None, item.position))
                pending = [(at, said) for at, said in pending if at not in (None, item.position)]
        return "".join([*settled, *(said for _, said in pending)])

    def _show(self, shown: Shown) -> None:
        if shown.position is not None:
            if shown.type == "step.started" and shown.position in self._seen:
                self.items = [item for item in self.items if item.position != shown.position]
                self._finished.pop(shown.position, None)
            elif _finishes(shown):
                self._finished[shown.position] = shown.id
            self._seen.add(shown.position)
        self.items.append(shown)

    def _end_or_resume(self, shown: Shown) -> None:
        if "keep_through" in shown.data:
            keep = shown.data["keep_through"]
            self._truncate(EventId.parse(keep) if keep is not None else None)
        if shown.type in ENDING_TYPES:
            self.ending = shown

    def _truncate(self, keep: EventId | None) -> None:
        if keep is None:
            self.items, self._finished = [], {}
            return
        self._finished = {position: at for position, at in self._finished.items() if at <= keep}
        self.items = [
            item
            for item in self.items
            if item.id <= keep and (item.position is None or item.position in self._finished)
        ]

    def _replace(self, event_id: EventId, data: Mapping[str, Any]) -> None:
        self.items, self._finished = [], {}
        steps: Sequence[Mapping[str, Any]] = data.get("steps", ())
        for step in steps:
            at = EventId.parse(step["last_event_id"]) if step.get("last_event_id") else event_id
            if step["position"] is not None:  # an entry without one only holds text that was shown outside any step
                self._finished[step["position"]] = at
            if step.get("text"):
                self.items.append(Shown(at, "text.delta", step["position"], {"text": step["text"]}, settled=True))
        partial: Sequence[Mapping[str, Any]] = data.get("partial") or (
            {"position": None, "text": data.get("partial_text")},
        )
        for part in partial:
            if part["text"]:
                self.items.append(Shown(event_id, "text.delta", part["position"], {"text": part["text"]}))
        self._seen = {*self._finished, *(item.position for item in self.items if item.position is not None)}


def _finishes(shown: Shown) -> bool:
    return shown.type == "step.completed" or (shown.type == "step.failed" and not shown.data.get("will_retry"))
