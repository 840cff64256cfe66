"""The tools of ``assistant``. Each call is a journalled step; each refusal is an answer that the model can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache, wraps
from typing import Any

from pydantic_ai import Tool
from pydantic_ai.exceptions import ToolFailed

from holdfast.errors import AgentFailed
from holdfast_agent.builtin import arithmetic, fetch
from holdfast_agent.builtin.workspace import Workspace, WorkspaceError
from holdfast_agent.pydantic_ai.tool_step import tool_step
from holdfast_agent.settings import ToolSettings

_REPEATABLE = tool_step(idempotent=True)


@cache
def tools_of(settings: ToolSettings) -> Sequence[Tool[object]]:
    """All of them, whatever is configured, so that what a model is asked does not change with a setting: what may not be done is
    refused.

    Reading, fetching, counting and the clock may be repeated. Writing may not: when nobody knows whether a file was written,
    somebody else may have changed it since.

    Raises:
        AgentFailed: ``misconfigured``: an approval is wanted for a tool that there is not.
    """
    made: dict[str, tuple[Callable[..., Any], bool]] = {
        "clock": (clock, True),
        "calculate": (calculate, True),
        "fetch": (_fetch(settings), True),
        **{name: (function, name != "write_file") for name, function in _files(settings).items()},
    }
    if unknown := settings.approve - made.keys():
        known = ", ".join(sorted(made))
        raise AgentFailed("misconfigured", f"HOLDFAST_APPROVE names {', '.join(sorted(unknown))}; there are {known}")
    return [
        Tool(
            function,
            name=name,
            takes_ctx=False,
            requires_approval=name in settings.approve,
            metadata=_REPEATABLE if repeatable else None,
        )
        for name, (function, repeatable) in made.items()
    ]


def clock() -> str:
    """The date and time now, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def calculate(expression: str) -> int | float:
    """Calculate an arithmetic expression, for example `2 * (3 + 4) ** 2` or `sqrt(2) / pi`."""
    try:
        return arithmetic.calculate(expression)
    except ValueError as error:
        raise ToolFailed(str(error)) from error


def _fetch(settings: ToolSettings) -> Callable[..., Any]:
    allowed = fetch.AllowList.of(settings.fetch_allow)

    async def fetch_url(url: str) -> dict[str, object]:
        """Fetch a text (a page, JSON) from an http or https address."""
        try:
            return await fetch.fetch(url, allowed)
        except fetch.FetchRefusedError as error:
            raise ToolFailed(str(error)) from error

    return fetch_url


def _files(settings: ToolSettings) -> dict[str, Callable[..., Any]]:
    workspace = Workspace(settings.workspace) if settings.workspace is not None else None

    def of_workspace(function: Callable[..., dict[str, object]]) -> Callable[..., dict[str, object]]:
        @wraps(function)
        def told(*args: Any, **kwargs: Any) -> dict[str, object]:
            if workspace is None:
                raise ToolFailed("there are no files here: no workspace is configured")
            try:
                return function(*args, **kwargs)
            except WorkspaceError as error:
                raise ToolFailed(str(error)) from error

        return told

    @of_workspace
    def read_file(path: str, offset: int = 0) -> dict[str, object]:
        """Read a file of the workspace, from a byte on; `next_offset` says where there is more."""
        assert workspace is not None
        return workspace.read(path, offset)

    @of_workspace
    def write_file(path: str, content: str) -> dict[str, object]:
        """Write a text file of the workspace, in place of what is there."""
        assert workspace is not None
        return workspace.write(path, content)

    @of_workspace
    def list_files(path: str = ".") -> dict[str, object]:
        """List a folder of the workspace."""
        assert workspace is not None
        return workspace.list(path)

    return {"read_file": read_file, "write_file": write_file, "list_files": list_files}
