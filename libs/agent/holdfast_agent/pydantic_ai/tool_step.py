"""How one tool's calls are journalled, as its author says in the tool's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast_agent.backend import OnUnknown
from holdfast_agent.retry import ONCE, Retry

METADATA_KEY = "holdfast"


@dataclass(frozen=True, slots=True)
class ToolStep:
    """The part of a step that a tool's author decides; see :class:`holdfast_agent.backend.StepSpec`."""

    idempotent: bool = False
    on_unknown: OnUnknown | None = None
    retry: Retry = ONCE
    timeout_s: float | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> ToolStep:
        """Read what stands in a tool's metadata under ``holdfast``.

        Raises:
            TypeError: it holds a word that is none of the fields.
            ValueError: ``on_unknown`` is none of its values.
        """
        fields = dict(metadata or {})
        if (on_unknown := fields.get("on_unknown")) is not None:
            fields["on_unknown"] = OnUnknown(on_unknown)
        return cls(**fields)


PLAIN = ToolStep()
"""Of a tool that says nothing: a call of unknown outcome is for a person to decide."""


def tool_step(
    *,
    idempotent: bool = False,
    on_unknown: OnUnknown | str | None = None,
    retry: Retry = ONCE,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Metadata of a tool that says how its calls are journalled.

        @agent.tool_plain(metadata=tool_step(idempotent=True, retry=Retry(tries=3)))
        def look_up(city: str) -> str: ...

    Args:
        idempotent: calling it twice is the same as calling it once; then a call of unknown outcome is simply made again.
        on_unknown: ``retry``, ``fail`` or ``ask``; left out: as ``idempotent``, the run or the agent says.
        retry: which of its failures are tried again, with every try in the journal. ``ModelRetry`` is no failure but an answer.
        timeout_s: for one try; a call that takes longer has an unknown outcome.
    """
    step = ToolStep.of({"idempotent": idempotent, "on_unknown": on_unknown, "retry": retry, "timeout_s": timeout_s})
    return {
        METADATA_KEY: {
            "idempotent": step.idempotent,
            "on_unknown": step.on_unknown,
            "retry": step.retry,
            "timeout_s": step.timeout_s,
        }
    }
