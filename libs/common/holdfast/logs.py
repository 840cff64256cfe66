"""Logs: structlog, one JSON line per event (or a readable line for a terminal): a constant name, details as fields."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger

_SECRET_FIELDS = frozenset(
    {"authorization", "api_key", "key", "password", "postgres_url", "nats_url", "bootstrap_key", "secret"}
)


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a module."""
    return cast(FilteringBoundLogger, structlog.get_logger(name))


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for field in _SECRET_FIELDS & event.keys():
        event[field] = "[redacted]"
    return event


def configure(level: str, form: str, **context: object) -> None:
    """Set logging up for this process, libraries' lines included; called by ``__main__`` alone.

    Args:
        level: debug, info, warning or error. Libraries are heard from warning on.
        form: "json" or "console".
        context: fields that every line carries (service), whichever thread writes it.
    """

    def add_context(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**context, **event}

    minimum = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        # not the default, which shows the locals of every frame: keys and secrets among them
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        *([structlog.processors.format_exc_info] if form == "json" else []),
        _redact,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_foreign(renderer), foreign_pre_chain=shared))
    logging.basicConfig(level=max(minimum, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("nats").setLevel(
        logging.CRITICAL
    )  # every refused reconnect would be a traceback; Link tells of them


def _foreign(renderer: Any) -> list[Any]:
    """The last steps for a line of a library."""
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
