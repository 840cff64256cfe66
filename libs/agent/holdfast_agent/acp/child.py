"""A child agent that speaks the Agent Client Protocol: started, greeted, prompted, stopped in good order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from acp import PROTOCOL_VERSION, ReadTextFileResponse, RequestError, WriteTextFileResponse, text_block
from acp.client.connection import ClientSideConnection
from acp.schema import AgentCapabilities, ClientCapabilities, FileSystemCapabilities, Implementation

from holdfast.errors import AgentFailed
from holdfast_agent.acp.process import ChildProcess
from holdfast_agent.acp.transport import Asked, Closed, LineTransport, Said, Update
from holdfast_agent.acp.updates import cleaned
from holdfast_agent.acp.workspace import Workspace

T = TypeVar("T")
_INBOX_MAX = 256
_HISTORY_UPDATES_MAX = 200_000
_SEND_S_MAX = 0.5
_END_S_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Command:
    """How a child is started, and how long it may take. ``env`` is added to the few variables that it has of the runner's."""

    command: Sequence[str]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    mcp_servers: Sequence[Any] = ()
    auth_method: str | None = None
    start_timeout_s: float = 60.0
    load_timeout_s: float = 120.0
    cancel_grace_s: float = 1.0
    interrupt_grace_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """The prompt was answered: the turn is over. One of the two is set."""

    stop_reason: str | None = None
    error: RequestError | None = None


Heard = Said | Answered


class _Files:
    """What a child may ask of its client besides permissions. Terminals are not offered."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.closed = False

    async def read_text_file(
        self, path: str, line: int | None = None, limit: int | None = None, **_: Any
    ) -> ReadTextFileResponse:
        """``fs/read_text_file``"""
        return ReadTextFileResponse(content=await self._workspace.read(path, line=line, limit=limit))

    async def write_text_file(self, path: str, content: str, **_: Any) -> WriteTextFileResponse:
        """``fs/write_text_file``"""
        if self.closed:
            raise RequestError.invalid_request({"details": "the turn was stopped"})
        await self._workspace.write(path, content)
        return WriteTextFileResponse()


class Child:
    """A running child. :meth:`start` makes one; whoever has it calls :meth:`stop`."""

    def __init__(self, command: Command, process: ChildProcess) -> None:
        self._command = command
        self.process = process
        self._inbox: asyncio.Queue[Heard] = asyncio.Queue(_INBOX_MAX)
        self._history: list[Update] | None = None
        self._files = _Files(Workspace(command.cwd))
        self._transport = LineTransport(process.reader, process.writer, self._deliver)
        self._connection = ClientSideConnection(lambda _: self._files, self._transport)  # type: ignore[arg-type, return-value]  # it offers only what it was said to offer
        self._prompting: asyncio.Task[None] | None = None
        self._asked: list[Asked] = []
        self._stopping = False
        self.session_id: str | None = None
        self.capabilities = AgentCapabilities()
        self.about: dict[str, Any] = {}

    @classmethod
    async def start(cls, command: Command) -> Child:
        """Start the command and agree on the protocol.

        Raises:
            AgentFailed: ``bad_command``; ``agent_exited``; ``acp_error``: it speaks another version, or none; ``silent``.
        """
        child = cls(command, await ChildProcess.start(command.command, cwd=command.cwd, env=command.env))
        try:
            await child._greet()
        except BaseException:
            await child.stop()
            raise
        return child

    async def _greet(self) -> None:
        hello = await self._answer(
            "initialize",
            self._connection.initialize(
                protocol_version=PROTOCOL_VERSION,
                client_capabilities=ClientCapabilities(
                    fs=FileSystemCapabilities(read_text_file=True, write_text_file=True), terminal=False
                ),
                client_info=Implementation(name="holdfast", version="1"),
            ),
            self._command.start_timeout_s,
        )
        if hello.protocol_version != PROTOCOL_VERSION:
            raise AgentFailed(
                "acp_error",
                f"{self._command.command[0]!r} speaks version {hello.protocol_version} of the Agent Client Protocol, "
                f"Holdfast version {PROTOCOL_VERSION}",
            )
        self.capabilities = hello.agent_capabilities or AgentCapabilities()
        about = {
            "protocol_version": hello.protocol_version,
            "agent": hello.agent_info.model_dump(mode="json", exclude_none=True) if hello.agent_info else None,
            "capabilities": self.capabilities.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        self.about = cleaned(about)
        self._methods = [method.id for method in hello.auth_methods or []]
        if self._command.auth_method is not None:
            call = self._connection.authenticate(method_id=self._command.auth_method)
            await self._answer("authenticate", call, self._command.start_timeout_s)

    @property
    def can_load(self) -> bool:
        """Can it go on with a session of an earlier process?"""
        return bool(self.capabilities.load_session)

    @property
    def heard_at(self) -> float:
        """When it last said anything, on the loop's clock."""
        return self._transport.heard_at

    # -- sessions ----------------------------------------------------------------------------------------------------

    async def new_session(self) -> str:
        """Begin a session; returns its id. Raises as :meth:`start` does."""
        call = self._connection.new_session(cwd=str(self._command.cwd), mcp_servers=list(self._command.mcp_servers))
        self.session_id = (await self._answer("session/new", call, self._command.start_timeout_s)).session_id
        return self.session_id

    async def load(self, session_id: str) -> Sequence[Update] | None:
        """Go on with a session. Returns what the child replays of it; None when the child does not have it any more.

        Raises:
            AgentFailed: ``agent_exited``, ``silent``, ``acp_error``.
        """
        self.session_id, self._history = session_id, []
        call = self._connection.load_session(
            cwd=str(self._command.cwd), session_id=session_id, mcp_servers=list(self._command.mcp_servers)
        )
        try:
            await self._answer("session/load", call, self._command.load_timeout_s, refused=True)
            return self._history
        except RequestError:
            return None
        finally:
            self._history = None

    async def _answer(self, method: str, call: Awaitable[T], timeout_s: float, *, refused: bool = False) -> T:
        """The answer to a request. With ``refused`` an error that the child answers is raised as it is."""
        try:
            async with asyncio.timeout(timeout_s):
                return await call
        except RequestError as error:
            if refused:
                raise
            raise self.refusal(method, error) from error
        except TimeoutError as error:
            raise AgentFailed("silent", f"it did not answer {method} in {timeout_s:g} s", retryable=True) from error
        except ConnectionError as error:
            raise await self.gone() from error
        except ValueError as error:
            raise AgentFailed("acp_error", f"its answer to {method} is not of the protocol: {error}") from error

    # -- a turn ------------------------------------------------------------------------------------------------------

    def prompt(self, text: str) -> None:
        """Send a prompt. What comes of it is for :meth:`hear`, an :class:`Answered` last."""
        self._transport.heard_at = asyncio.get_running_loop().time()
        self._prompting = asyncio.create_task(self._prompt(text), name=f"prompt of {self.process.pid}")

    async def _prompt(self, text: str) -> None:
        assert self.session_id is not None
        try:
            answer = await self._connection.prompt(session_id=self.session_id, prompt=[text_block(text)])
            answered = Answered(stop_reason=answer.stop_reason)
        except RequestError as error:
            answered = Answered(error=error)
        except ConnectionError:
            return  # the transport says that it is closed, or its writer found out first
        except ValueError as error:
            answered = Answered(error=RequestError.internal_error({"details": f"not of the protocol: {error}"}))
        if not self._stopping:
            await self._inbox.put(answered)

    async def hear(self, timeout_s: float) -> Heard | None:
        """What it says next; None when it says nothing within the time."""
        if not self._inbox.empty():
            return self._inbox.get_nowait()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def permit(self, asked: Asked, option_id: str | None) -> None:
        """Answer a permission request; None: it is cancelled."""
        self._asked = [each for each in self._asked if each is not asked]
        try:
            await self._transport.answer(asked, option_id)
        except OSError:
            return  # it has gone, and is heard to

    async def _deliver(self, said: Said) -> None:
        if self._history is not None and isinstance(said, Update):
            if len(self._history) >= _HISTORY_UPDATES_MAX:
                raise AgentFailed("acp_error", f"it replays more than {_HISTORY_UPDATES_MAX} updates")
            self._history.append(said)
            return
        if isinstance(said, Asked):
            self._asked.append(said)
        if self._stopping:
            if isinstance(said, Asked):
                await self.permit(said, None)
            return
        await self._inbox.put(said)

    # -- ends --------------------------------------------------------------------------------------------------------

    def refusal(self, method: str, error: RequestError) -> AgentFailed:
        """What an error that the child answers means for the run."""
        error_said = cleaned(str(error))
        details = cleaned(f" {error.data}") if error.data else ""
        if error.code == RequestError.auth_required().code:
            known = ", ".join(self._methods) or "none"
            return AgentFailed(
                "auth_required", f"it wants to be logged in (its methods: {known}): {error_said}{details}"
            )
        return AgentFailed("acp_error", f"it answered {method} with an error: {error_said}{details}")

    async def gone(self, closed: Closed | None = None) -> AgentFailed:
        """Why a child that has closed its output is no more there."""
        if closed is not None and closed.why is not None:
            return AgentFailed("acp_error", closed.why)
        code = await self.process.exited(_END_S_MAX)
        said = f"; its last words:\n{self.process.last_words}" if self.process.last_words else ""
        if code is None:
            return AgentFailed("agent_exited", f"the agent closed its output before the end of its turn{said}")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return AgentFailed("agent_exited", f"the agent {how} before the end of its turn{said}")

    async def stop(self) -> None:
        """Stop it and all that it has started: ``session/cancel``, then SIGINT, then SIGKILL, with a grace after each.

        Returns when nothing of it is left. Whoever is cancelled here has it killed at once.
        """
        self._stopping = self._files.closed = True
        self._drop_inbox()
        try:
            if self._prompting is not None and not self._prompting.done():
                await self._cancel_turn()
            self.process.writer.close()
            deaf = self._prompting is not None and not self._prompting.done()
            if deaf or await self.process.exited(self._command.cancel_grace_s) is None:
                self.process.interrupt()
                await self.process.exited(self._command.interrupt_grace_s)
        finally:
            self.process.let_go()
            await asyncio.shield(self._end())

    async def _cancel_turn(self) -> None:
        """Ask it to end its turn: the protocol wants its permission requests answered, too."""
        assert self._prompting is not None
        assert self.session_id is not None
        try:
            async with asyncio.timeout(_SEND_S_MAX):
                await self._connection.cancel(session_id=self.session_id)
                for asked in list(self._asked):
                    await self.permit(asked, None)
        except (OSError, TimeoutError):
            return
        await asyncio.wait({self._prompting}, timeout=self._command.cancel_grace_s)

    async def _end(self) -> None:
        await self.process.kill()
        if self._prompting is not None:
            self._prompting.cancel()
        await self._connection.close()

    def _drop_inbox(self) -> None:
        """Nobody listens any more; whoever waits to put something in may go on."""
        while not self._inbox.empty():
            self._inbox.get_nowait()
