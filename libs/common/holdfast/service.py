"""What every process is made of: settings, logs, signals, a health endpoint, and an exit code that says what happened.

``__main__`` of a service calls :func:`main` with its composition root, ``build(settings) -> Service``. Signals and logging are
set up here alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import NoReturn, Protocol, TypeVar

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
        _run(_serve(build, settings))
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


def _run(main_coroutine: Coroutine[object, object, None]) -> None:
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
