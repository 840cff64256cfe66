"""Logs: structlog, one JSON line per event (or a readable line for a terminal): a constant name, details as fields."""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger

_SECRET_FIELDS = frozenset({"authorization", "api_key", "key", "password", "postgres_url", "nats_url", "bootstrap_key"})


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a module."""
    return cast(FilteringBoundLogger, structlog.get_logger(name))


def _redact(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for field in _SECRET_FIELDS & event.keys():
        event[field] = "[redacted]"
    return event


def configure(level: str, form: str, **context: object) -> None:
    """Set logging up for this process; called by ``__main__`` alone.

    Args:
        level: debug, info, warning or error.
        form: "json" or "console".
        context: fields that every line carries (service, pod, boot).
    """
    minimum = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(
        level=max(minimum, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("nats").setLevel(
        logging.CRITICAL
    )  # every refused reconnect would be a traceback; Link tells of them
    renderer: Any = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if form == "json" else []),
            cast(Any, _redact),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**context)
