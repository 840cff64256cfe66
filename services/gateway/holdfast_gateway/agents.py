"""The agents that runners have loaded, as the record lists them, and whether an input is what one takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from jsonschema.protocols import Validator

from holdfast.errors import Terminal
from holdfast.store import AgentRow, caller
from holdfast_gateway.record import Record
from holdfast_gateway.schemas import problems_with, validator_of
from holdfast_gateway.shared import SharedReading

_FRESH_S = 1.0
_SHOWN_FOR = timedelta(minutes=3)  # a live runner says its agents every minute
_VALIDATORS_MAX = 256


class UnknownAgent(Terminal):
    """No runner has loaded it in the last day."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no runner has loaded an agent named {name!r}")
        self.known = list(known)


class InvalidInput(Terminal):
    """The input is not what the agent takes. ``problems`` are ``{"loc": [...], "msg": ...}``."""

    def __init__(self, agent: str, problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(f"the input is not what agent {agent!r} takes: {problems[0]['msg']}")
        self.problems = list(problems)


class Agents:
    """The newest row of each name. Read from the record at most once a second; a name that is not known is looked up at once."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._known: dict[str, AgentRow] = {}
        self._read_at = float("-inf")
        self._refresh = SharedReading(self._read)
        self._validators: dict[tuple[str, str, str], Validator | None] = {}

    async def all(self) -> list[AgentRow]:
        """Every agent that a live runner has, by name."""
        await self._refresh(None)
        return self._shown()

    async def find(self, name: str) -> AgentRow:
        """The agent of a name.

        Raises:
            UnknownAgent: none was there in the last day; it lists those that live runners have.
        """
        if asyncio.get_running_loop().time() - self._read_at > _FRESH_S or name not in self._known:
            await self._refresh(None)
        if name not in self._known:
            raise UnknownAgent(name, sorted(row.name for row in self._shown()))
        return self._known[name]

    def _shown(self) -> list[AgentRow]:
        """A submit may come while an agent's last runner restarts; a list shows what there is now."""
        since = datetime.now(UTC) - _SHOWN_FOR
        return [row for row in self._known.values() if row.seen_at >= since]

    def check(self, agent: AgentRow, value: Any) -> None:
        """Hold an input against the agent's JSON schema, when it has one.

        Raises:
            InvalidInput: it does not fit.
        """
        problems = problems_with(value, self._validator(agent), ["body", "input"], f"agent {agent.name}")
        if problems:
            raise InvalidInput(agent.name, problems)

    async def _read(self, _: None) -> None:
        rows = await caller.agents(self._record.db)
        known: dict[str, AgentRow] = {}
        for row in rows:
            known.setdefault(row.name, row)
        self._known = known
        self._read_at = asyncio.get_running_loop().time()

    def _validator(self, agent: AgentRow) -> Validator | None:
        key = (agent.name, agent.version, str(agent.boot))
        if key not in self._validators:
            if len(self._validators) >= _VALIDATORS_MAX:
                self._validators.clear()
            self._validators[key] = validator_of(agent.input_schema, f"agent {agent.name}")
        return self._validators[key]
