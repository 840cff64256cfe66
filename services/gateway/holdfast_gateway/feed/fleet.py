"""What the feed says of pods, ready for two kinds of callers: operators, who see host and pid, and all others."""

from __future__ import annotations

from holdfast.bus import heartbeats
from holdfast.errors import BusUnavailable
from holdfast.logs import get_logger
from holdfast_gateway.carrier import Carrier
from holdfast_gateway.feed.frames import NOT_KNOWN, pod_changed_frame, pod_gone_frame, pods_frame, pods_json
from holdfast_gateway.feed.roster import Gone, Roster

log = get_logger(__name__)


class Fleet:
    """The pods as this gateway last saw them. ``version`` moves with every change of them."""

    def __init__(self, carrier: Carrier) -> None:
        self.version = 0
        self._carrier = carrier
        self._roster = Roster()
        self._away = False

    @property
    def known(self) -> bool:
        """Has it looked since somebody follows?"""
        return self._roster.known

    def forget(self) -> None:
        """Nobody follows any more."""
        self._roster.forget()

    def listed(self, *, operator: bool) -> bytes:
        """All pods as JSON; ``null`` while they are not known."""
        return pods_json(self._roster.shown(operator=operator)) if self._roster.known else NOT_KNOWN

    def whole(self, *, operator: bool) -> bytes:
        """All pods as an event."""
        return pods_frame(self.listed(operator=operator))

    async def look(self) -> dict[bool, bytes]:
        """Look at the bucket. Returns what there is to tell, by whether it is for an operator; empty when nothing is new, or when
        NATS is away: what nobody can see has not changed."""
        was_known = self._roster.known
        try:
            beats = await heartbeats.read_all(self._carrier.client)
        except BusUnavailable as error:
            if not self._away:
                log.info("feed.pods_not_seen", error=str(error))
            self._away = True
            return {}
        self._away = False
        news = self._roster.update(beats)
        if was_known and not news:
            return {}
        self.version += 1
        if not was_known:
            return {operator: self.whole(operator=operator) for operator in (False, True)}
        return {
            operator: b"".join(
                pod_gone_frame(each.pod, each.boot)
                if isinstance(each, Gone)
                else pod_changed_frame(each.shown(operator=operator))
                for each in news
            )
            for operator in (False, True)
        }
