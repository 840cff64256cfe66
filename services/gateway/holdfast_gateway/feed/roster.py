"""The runners that are alive, and what changed of them between two looks at the heartbeat bucket. Pure.

A pod that one look does not show is not gone yet: the bucket is empty for a moment when NATS has restarted. Two looks in a row
without it, its goodbye, or another boot in its place are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from holdfast.bus.heartbeats import Beat
from holdfast.wire.messages import Heartbeat
from holdfast_gateway.http.models import Pod

_LOOKS_MISSED_MAX = 1


@dataclass(frozen=True, slots=True)
class Gone:
    """A boot that is not there any more."""

    pod: str
    boot: UUID


@dataclass(frozen=True, slots=True)
class Changed:
    """A pod as it is now."""

    heartbeat: Heartbeat
    written_at: str | None

    def shown(self, *, operator: bool) -> Pod:
        """As a caller may see it."""
        return Pod.of(self.heartbeat, last_seen=self.written_at, operator=operator)


class Roster:
    """Give it each look with :meth:`update`. ``known`` is False before the first, and after :meth:`forget`."""

    def __init__(self) -> None:
        self.known = False
        self._pods: dict[str, Changed] = {}
        self._missed: dict[str, int] = {}

    def forget(self) -> None:
        """Nobody has looked for a while."""
        self.known = False
        self._pods.clear()
        self._missed.clear()

    def shown(self, *, operator: bool) -> list[Pod]:
        """All that are alive, by name, as a caller may see them."""
        return [self._pods[name].shown(operator=operator) for name in sorted(self._pods)]

    def update(self, beats: Iterable[Beat]) -> list[Changed | Gone]:
        """Take a look in; returns what is new, by pod. A heartbeat that only says that its pod is alive is not."""
        self.known = True
        now = {
            beat.heartbeat.pod: beat for beat in beats if beat.heartbeat is not None and beat.heartbeat.kind == "runner"
        }
        news: list[Changed | Gone] = []
        for name in sorted(self._pods.keys() | now.keys()):
            news += self._compare(name, now.get(name))
        return news

    def _compare(self, name: str, beat: Beat | None) -> list[Changed | Gone]:
        before = self._pods.get(name)
        if beat is None or beat.heartbeat is None:
            assert before is not None
            self._missed[name] = self._missed.get(name, 0) + 1
            return self._drop(before) if self._missed[name] > _LOOKS_MISSED_MAX else []
        self._missed.pop(name, None)
        if beat.heartbeat.goodbye:
            return self._drop(before) if before is not None else []
        now = self._pods[name] = Changed(beat.heartbeat, beat.written_at)
        if before is None:
            return [now]
        if before.heartbeat.boot != now.heartbeat.boot:
            return [Gone(name, before.heartbeat.boot), now]
        return [now] if before.heartbeat != now.heartbeat else []

    def _drop(self, pod: Changed) -> list[Changed | Gone]:
        name = pod.heartbeat.pod
        del self._pods[name]
        self._missed.pop(name, None)
        return [Gone(name, pod.heartbeat.boot)]
