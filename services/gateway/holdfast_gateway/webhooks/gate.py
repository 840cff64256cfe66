"""May this caller have messages sent there? Asked when a webhook is added; each try asks again where the name leads by then."""

from __future__ import annotations

import asyncio

from holdfast_gateway.webhooks.targets import Resolve, TargetRefused, addresses_of, read

_LOOKUP_TIMEOUT_S = 1.0


class Gate:
    """``private``: the operator allows webhooks of everybody to lead to this machine and to private networks."""

    def __init__(self, resolve: Resolve, *, private: bool) -> None:
        self._resolve = resolve
        self._private = private

    async def check(self, url: str, *, operator: bool) -> None:
        """Refuse what will not be sent to. A name that leads nowhere now may lead somewhere later: the deliveries will tell.

        Args:
            url: of the webhook.
            operator: an operator's key asks; this machine is theirs.

        Raises:
            TargetRefused: the message says why.
        """
        target = read(url)
        if target.here and not (operator or self._private):
            raise TargetRefused("only an operator's key may have messages sent to the gateway's own machine")
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
                await addresses_of(target, self._resolve, private=self._private)
        except (OSError, TimeoutError):
            return
