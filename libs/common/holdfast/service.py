"""What every process is made of: settings, logs, signals, a health endpoint, parts that run beside each other, and an exit code
that says what happened.

``__main__`` of a service calls :func:`main` with its composition root, ``build(settings) -> Service``. Signals and logging are
set up here alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from holdfast import http, logs
from holdfast.errors import HoldfastError, Retryable
from holdfast.settings import Settings

log = logs.get_logger(__name__)
S = TypeVar("S", bound=Settings)

EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: starting again will not help
EXIT_FAILED = 1

_CANCEL_AGAIN_AFTER_S = 1.0
_END_TIMEOUT_S = 8.0


class Service(Protocol):
    """A process: it starts, is ready, stops."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then drain and return. An exception ends the process with a clear message."""

    async def not_ready(self) -> list[str]:
        """Why it cannot do its work now, in words for an operator; empty when it can."""


def health_routes(service: Service) -> list[Route]:
    """``/healthz`` (the loop turns), ``/readyz`` (it can do its work) and ``/metrics``."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        reasons = await service.not_ready()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


@asynccontextmanager
async def health_endpoint(service: Service, settings: Settings) -> AsyncIterator[None]:
    """Serve the health routes beside the service, where ``health_port`` says so."""
    if settings.health_port == 0:
        yield
        return
    async with http.serving(Starlette(routes=health_routes(service)), settings.health_host, settings.health_port):
        yield


async def run_beside(
    parts: Mapping[str, Coroutine[Any, Any, None]], *, cancel_again_after_s: float = _CANCEL_AGAIN_AFTER_S
) -> None:
    """Run parts beside each other, each in a task of its name, until all have ended. The first that fails ends the others, as a
    cancel does.

    As a TaskGroup, which however cancels each of its tasks only once: ``asyncio.wait_for`` of Python 3.11, which nats-py waits
    with, forgets a cancel that comes together with what it waits for, and the group would then wait for that task for ever.

    Raises:
        BaseExceptionGroup: what they failed with.
    """
    tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _end(tasks, cancel_again_after_s)
    ended = [task for task in tasks if task.done() and not task.cancelled()]
    failures = [error for task in ended if (error := task.exception()) is not None]
    if failures:
        raise BaseExceptionGroup("parts failed", failures)


async def _end(tasks: list[asyncio.Task[None]], again_after_s: float) -> None:
    """Cancel tasks until they have ended; those that never will are named, and left. A cancel of this waits for them as well."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _END_TIMEOUT_S
    cancelled: asyncio.CancelledError | None = None
    while (there := [task for task in tasks if not task.done()]) and loop.time() < deadline:
        for task in there:
            task.cancel()
        try:
            await asyncio.wait(there, timeout=again_after_s)
        except asyncio.CancelledError as error:
            cancelled = error
    if there:
        log.error("service.part_left", parts=[task.get_name() for task in there])
    if cancelled is not None:
        raise cancelled


async def _serve(build: Callable[[S], Service], settings: S) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await build(settings).run(stop)


def main(name: str, read_settings: Callable[[], S], build: Callable[[S], Service]) -> NoReturn:
    """Run a service until it is told to stop, and end the process with an exit code that says how it went.

    It ends at once, without the interpreter's own teardown: granian's threads may still run then, and one that meets an
    interpreter which is being torn down panics (seen after a client had gone away).
    """
    signal.signal(
        signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM)
    )  # process 1 of a container ignores it without
    code = _main(name, read_settings, build)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _main(name: str, read_settings: Callable[[], S], build: Callable[[S], Service]) -> int:
    try:
        settings = read_settings()
    except ValidationError as error:
        for wrong in error.errors():
            field = ".".join(str(part) for part in wrong["loc"])
            print(f"holdfast {name}: {field + ': ' if field else ''}{wrong['msg']}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    logs.configure(settings.log_level, settings.log_format, service=name)
    try:
        run_loop(_serve(build, settings))
    except (HoldfastError, BaseExceptionGroup) as failure:
        told = _leaves(failure)
        if not all(isinstance(error, HoldfastError) for error in told):
            raise
        for problem in told:
            log.error("service.stopped", error=str(problem), kind=type(problem).__name__)
            print(f"holdfast {name}: {problem}", file=sys.stderr)  # noqa: T201
        return EXIT_FAILED if all(isinstance(error, Retryable) for error in told) else EXIT_CONFIG
    log.info("service.ended")
    return 0


def run_loop(main_coroutine: Coroutine[object, object, None]) -> None:
    """Run a coroutine to its end in an event loop of this thread's own: uvloop's, where there is one."""
    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ImportError:
        asyncio.run(main_coroutine)
    else:
        uvloop.run(main_coroutine)


def _leaves(failure: BaseException) -> list[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        return [leaf for inner in failure.exceptions for leaf in _leaves(inner)]
    return [failure]
