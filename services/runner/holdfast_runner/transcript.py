"""What viewers of a run are shown, as its owner knows it: the text that the record will hold. Pure.

The text of a step counts where the step finished; what was shown outside any step goes with the step that finishes next, or
with the suspension.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Transcript:
    """Text in the order in which it counts. ``kept`` was shown by earlier attempts. ``chars`` is the length of all of it."""

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self.chars = sum(map(len, kept))
        self._open: list[tuple[str | None, str]] = []

    def show(self, position: str | None, text: str) -> None:
        """Text was shown, within a step or outside any (None)."""
        self.chars += len(text)
        self._open.append((position, text))

    def begin(self, position: str) -> None:
        """A step begins, or begins anew: viewers drop what an earlier try of it had shown."""
        self.chars -= sum(len(text) for at, text in self._open if at == position)
        self._open = [(at, text) for at, text in self._open if at != position]

    def finish(self, position: str | None) -> str:
        """A step is finished: returns its text, and what was shown outside any step since the one before. None: a suspension."""
        text = "".join(text for at, text in self._open if at in (None, position))
        self._open = [(at, text) for at, text in self._open if at not in (None, position)]
        return text

    @property
    def open_text(self) -> str:
        """The text of no finished step: what a step left that its agent gave up stays on the screen until the next takeover."""
        return "".join(text for _, text in self._open)

    @property
    def open(self) -> Sequence[tuple[str | None, str]]:
        """The same in pieces, each with its step."""
        return self._open


class Outside:
    """Counts what is shown outside of steps, so that a replay is silent for just what viewers keep.

    A deterministic agent shows the same, in each scope, at each replay: the first ``n`` of a scope are those that earlier
    attempts have shown and that the record has committed to. ``kept`` are the counts that finished steps and suspensions brought.
    """

    def __init__(self, kept: Iterable[Mapping[str, int] | None]) -> None:
        self._kept: dict[str, int] = {}
        for counts in kept:
            for scope, count in (counts or {}).items():
                self._kept[scope] = self._kept.get(scope, 0) + count
        self._new: dict[str, int] = {}

    def is_new(self, scope: str) -> bool:
        """Something is to be shown: is it new? Else viewers have it."""
        return not self._kept.get(scope, 0)

    def count(self, scope: str) -> None:
        """It was shown, or passed over since viewers have it."""
        counts, step = (self._kept, -1) if self._kept.get(scope, 0) else (self._new, 1)
        counts[scope] = counts.get(scope, 0) + step

    def take(self) -> dict[str, int] | None:
        """The counts since this was last asked, for the record."""
        taken, self._new = self._new, {}
        return taken or None
