"""An agent: a coroutine with a name. The decorator makes an object and registers nothing; a runner finds it in its module."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast_agent.backend import OnUnknown
from holdfast_agent.run import Run

AgentFunction = Callable[[Run], Awaitable[Any]]
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Agent:
    """A named coroutine that takes a :class:`Run` and returns the run's output (any JSON value).

    ``version`` tells one state of its code from another; ``input_schema`` is a JSON schema that gateways check inputs with;
    ``on_unknown`` is the default for its steps that are neither model calls nor idempotent; ``warm_up`` is called once in each
    runner, in a thread, to get ready what its first run would have to wait for.
    """

    name: str
    function: AgentFunction
    version: str
    description: str = ""
    input_schema: Mapping[str, Any] = field(default_factory=dict)
    on_unknown: OnUnknown | None = None
    warm_up: Callable[[], Any] | None = None


def code_version(function: Callable[..., Any]) -> str:
    """The first 12 hex digits of the SHA-256 of the file that the function stands in."""
    source = inspect.getsourcefile(function)
    content = Path(source).read_bytes() if source is not None else function.__qualname__.encode()
    return hashlib.sha256(content).hexdigest()[:12]


def agent(
    name: str,
    *,
    description: str | None = None,
    input_schema: Mapping[str, Any] | None = None,
    version: str | None = None,
    on_unknown: OnUnknown | str | None = None,
    warm_up: Callable[[], Any] | None = None,
) -> Callable[[AgentFunction], Agent]:
    """Make an agent of a coroutine function.

    Args:
        name: what clients ask for: 1 to 64 letters, digits, ``_``, ``.`` or ``-``.
        description: one line for people; the docstring's first line when left out.
        input_schema: JSON schema of the run's input; anything goes when left out.
        version: of the code; a hash of the file when left out.
        on_unknown: for its steps of unknown outcome that do not say themselves: ``retry``, ``fail`` or ``ask``.
        warm_up: called once in each runner, in a thread: imports and connections that the first run should not wait for.

    Raises:
        ValueError: the name is not usable.
        TypeError: the function is not a coroutine function.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"agent name {name!r} is not usable: 1 to 64 letters, digits, '_', '.' or '-'")

    def make(function: AgentFunction) -> Agent:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"agent {name!r}: {function!r} is not an async function")
        lines = (inspect.getdoc(function) or "").splitlines()
        return Agent(
            name=name,
            function=function,
            version=version or code_version(function),
            description=description if description is not None else (lines[0] if lines else ""),
            input_schema=input_schema or {},
            on_unknown=OnUnknown(on_unknown) if on_unknown is not None else None,
            warm_up=warm_up,
        )

    return make
