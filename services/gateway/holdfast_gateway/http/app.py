"""The HTTP application: routes, errors, what stands before them, and the OpenAPI page."""

from __future__ import annotations

from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from holdfast import __version__
from holdfast.service import Service, health_routes
from holdfast_gateway.http import answering, events, feed, fleet, moving_on, queues, runs, submit, threads, webhooks
from holdfast_gateway.http.guards import Draining, InTime, LoopbackNames, WholeBody
from holdfast_gateway.http.openapi import describe
from holdfast_gateway.http.problems import answer_with_problems
from holdfast_gateway.parts import Parts
from holdfast_gateway.protocols.ai_sdk import routes as ai_sdk

_ABOUT = """\
Runs of agents that outlive the runner they run on.

Submit a run, follow its events, and connect again with the last event's id whenever the connection ends other than cleanly.
Send an API key as `Authorization: Bearer <key>` or `X-Api-Key: <key>` (not with `HOLDFAST_AUTH=none`). Errors are
`application/problem+json` with a stable `code`.
"""


def make_app(parts: Parts, service: Service) -> ASGIApp:
    """The ASGI application of one gateway."""
    app = FastAPIOffline(
        title="Holdfast", version=__version__, description=_ABOUT, redoc_url=None, redirect_slashes=False
    )
    app.state.parts = parts
    for module in (submit, runs, answering, moving_on, events, feed, threads, queues, fleet, webhooks):
        app.include_router(module.router, prefix="/v1")
    app.include_router(ai_sdk.router, prefix="/ai-sdk")
    app.router.routes.extend(health_routes(service))
    answer_with_problems(app, parts.record)
    describe(app, with_keys=parts.settings.auth == "keys")
    return _guarded(app, parts)


def _guarded(app: ASGIApp, parts: Parts) -> ASGIApp:
    """From the inside out."""
    settings = parts.settings
    guarded: ASGIApp = InTime(app, parts.record)
    guarded = WholeBody(guarded, settings.body_bytes_max)
    guarded = Draining(guarded, parts.draining)
    if settings.auth == "none":
        guarded = LoopbackNames(guarded, settings.cors_origins)
    if not settings.cors_origins:
        return guarded
    return CORSMiddleware(
        guarded,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id", "x-api-key"],
        expose_headers=["location", "retry-after", "x-workflow-run-id", "x-workflow-stream-tail-index"],
        max_age=600,
    )
