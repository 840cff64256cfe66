"""What the routes work with: the parts of one gateway, made by its composition root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from holdfast.settings import GatewaySettings
from holdfast_gateway.agents import Agents
from holdfast_gateway.announcing import Announcer
from holdfast_gateway.carrier import Carrier
from holdfast_gateway.connections import Connections
from holdfast_gateway.feed.reader import Feed
from holdfast_gateway.polling import Polls
from holdfast_gateway.record import Record
from holdfast_gateway.tails import Tails
from holdfast_gateway.webhooks.gate import Gate


@dataclass(frozen=True, slots=True)
class Parts:
    """``draining`` is set once, at the gateway's end."""

    settings: GatewaySettings
    record: Record
    carrier: Carrier
    tails: Tails
    agents: Agents
    announcer: Announcer
    connections: Connections
    polls: Polls
    feed: Feed
    webhook_gate: Gate
    draining: asyncio.Event
