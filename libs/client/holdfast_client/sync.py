"""The same client for programs without an event loop: plain calls and plain iterators.

One thread of its own turns an event loop on which the asynchronous client works; each call hands it a coroutine and waits. Ctrl-C
ends the call, and what it was doing. Several threads may use one client. A process that was forked cannot: it has no such thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, overload
from uuid import UUID

import httpx2

from holdfast_client import client, run
from holdfast_client.models import RunState
from holdfast_client.transcript import Transcript

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
_CANCEL_WAIT_S = 5.0


class NotTurningError(RuntimeError):
    """The client is closed, or is another process's."""


class Turning:
    """An event loop that turns in a thread. ``wait`` runs a coroutine on it and gives its result."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._closed = False
        self._handing_over = threading.RLock()  # what comes after the last turn would be waited for without end
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name="holdfast-client", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # while the thread still turns: what is collected later must not wait for it

    @property
    def closed(self) -> bool:
        """It takes nothing more."""
        return self._closed

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or its error. What interrupts the waiting cancels the coroutine, and waits for its end."""
        over = threading.Event()
        try:
            self._check()
            with self._handing_over:
                self._check()
                future = asyncio.run_coroutine_threadsafe(_telling(work, over), self._loop)
        except RuntimeError:
            work.close()
            raise
        try:
            return future.result()
        except CancelledError:
            raise NotTurningError("this client was closed meanwhile") from None
        except BaseException:
            if future.cancel():
                over.wait(_CANCEL_WAIT_S)
            raise

    def iterate(self, events: AsyncGenerator[T, None]) -> Iterator[T]:
        """What an asynchronous generator gives. It is closed, with its connection, when the iterator is."""
        try:
            while True:
                try:
                    event = self.wait(_next(events))
                except StopAsyncIteration:
                    return
                yield event
        finally:
            # on the loop's thread it is collected as garbage, and the loop closes what is within by itself
            if threading.current_thread() is not self._thread:
                with contextlib.suppress(NotTurningError):
                    self.wait(events.aclose())

    def close(self) -> None:
        """Stop the thread. Safe to repeat, also by several threads at once."""
        if self._process != os.getpid():
            return
        with self._handing_over:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _check(self) -> None:
        if self._process != os.getpid():  # the loop's thread is not here, and its connections are the other one's
            raise NotTurningError("this client was made before a fork: make one in each process")
        if self._closed:
            raise NotTurningError("this client is closed")
        if threading.current_thread() is self._thread:
            raise RuntimeError("this would wait for itself")

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(asyncio.sleep(0))  # what was handed over before the stop begins, and is ended
        while left := asyncio.all_tasks(self._loop):
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())


async def _telling(work: Coroutine[Any, Any, T], over: threading.Event) -> T:
    try:
        return await work
    finally:
        over.set()


async def _next(events: AsyncGenerator[T, None]) -> T:
    return await anext(events)


class Face(Generic[A]):
    """An asynchronous object with its loop."""

    def __init__(self, inner: A, turning: Turning) -> None:
        self._inner = inner
        self._turning = turning


def _waits(method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Face[A], P], T]:
    """The same method, which returns when its work is done."""

    @functools.wraps(method)
    def call(self: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._turning.wait(method(self._inner, *args, **kwargs))

    return call


def _gives_run(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, run.Run]],
) -> Callable[Concatenate[Face[A], P], Run]:
    @functools.wraps(method)
    def call(self: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> Run:
        return Run(self._turning.wait(method(self._inner, *args, **kwargs)), self._turning)

    return call


def _iterates(
    method: Callable[Concatenate[A, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[Face[A], P], Iterator[T]]:
    @functools.wraps(method)
    def call(self: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._turning.iterate(method(self._inner, *args, **kwargs))

    return call


class Run(Face[run.Run]):
    """A run, as :class:`holdfast_client.Run`."""

    refresh = _waits(run.Run.refresh)
    events = _iterates(run.Run.events)
    result = _waits(run.Run.result)
    cancel = _waits(run.Run.cancel)
    answer = _waits(run.Run.answer)
    resume = _waits(run.Run.resume)
    steps = _waits(run.Run.steps)
    attempts = _waits(run.Run.attempts)
    fork = _gives_run(run.Run.fork)

    @property
    def id(self) -> str:
        """The run's id."""
        return self._inner.id

    @property
    def state(self) -> RunState | None:
        """As it was last seen."""
        return self._inner.state

    @overload
    def transcript(self, *, live: Literal[False] = False) -> Transcript: ...

    @overload
    def transcript(self, *, live: Literal[True]) -> Iterator[Transcript]: ...

    def transcript(self, *, live: bool = False) -> Transcript | Iterator[Transcript]:
        """What the run has said, when its stream has ended; ``live=True``: an iterator of the same as it grows."""
        if live:
            return self._turning.iterate(self._inner.transcript(live=True))
        return self._turning.wait(self._inner.transcript())

    def __repr__(self) -> str:
        return repr(self._inner)


class Holdfast(Face[client.Holdfast]):
    """``with Holdfast() as holdfast: …``, as :class:`holdfast_client.Holdfast`, with the same arguments."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        patience_s: float = 15.0,
        stream_patience_s: float = 300.0,
        polling: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        inner = client.Holdfast(
            url,
            key,
            timeout_s=timeout_s,
            patience_s=patience_s,
            stream_patience_s=stream_patience_s,
            polling=polling,
            transport=transport,
        )
        super().__init__(inner, Turning())

    submit = _gives_run(client.Holdfast.submit)
    runs = _waits(client.Holdfast.runs)
    agents = _waits(client.Holdfast.agents)
    pods = _waits(client.Holdfast.pods)
    threads = _waits(client.Holdfast.threads)
    messages = _waits(client.Holdfast.messages)
    feed = _iterates(client.Holdfast.feed)
    call = _waits(client.Holdfast.call)

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return self._inner.url

    def run(self, run_id: str | UUID) -> Run:
        """A handle on a run. Asks nobody whether it is there."""
        return Run(self._inner.run(run_id), self._turning)

    def close(self) -> None:
        """Close all connections, and stop the thread. Runs go on. Safe to repeat."""
        with contextlib.suppress(NotTurningError):
            self._turning.wait(self._inner.close())
        self._turning.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
