"""What the routes work with: the parts of one gateway, made by its composition root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from holdfast.settings import GatewaySettings
from holdfast_gateway.agents import Agents
from holdfast_gateway.announcing import Announcer
from holdfast_gateway.carrier import Carrier
from holdfast_gateway.record import Record
from holdfast_gateway.tails import Tails


@dataclass(frozen=True, slots=True)
class Parts:
    """``draining`` is set once, at the gateway's end."""

    settings: GatewaySettings
    record: Record
    carrier: Carrier
    tails: Tails
    agents: Agents
    announcer: Announcer
    draining: asyncio.Event
