"""Logs as JSON lines on standard output, ours and our libraries' alike."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import asyncpg
import orjson
import structlog

from todo_core.settings import RuntimeSettings


def _json(event: dict[str, Any], **_: object) -> str:
    return orjson.dumps(event, default=repr).decode()


def _format_exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write out the traceback, but not the row that PostgreSQL quotes in the DETAIL of a constraint that was broken."""
    error = event.get("exc_info")
    # A line may be written while an error is handled and show no traceback: there is nothing to leave out of it then.
    if error and not isinstance(error, BaseException):
        error = error[1] if isinstance(error, tuple) else sys.exc_info()[1]
    rows = []
    while isinstance(error, BaseException):
        if isinstance(error, asyncpg.PostgresError) and error.detail:
            rows.append(error.detail)
        error = error.__cause__ or error.__context__
    event = structlog.processors.format_exc_info(logger, method, event)
    for row in rows:
        event["exception"] = event["exception"].replace(row, "(not logged)")
    return event


def configure(settings: RuntimeSettings) -> None:
    """Send every log line of this process through structlog. Call once, when the process starts."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
        _format_exception,
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=repr)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json),
            ],
        )
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "gunicorn.error"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # One line a request is ours to write, with the id and without the query string.
    logging.getLogger("uvicorn.access").disabled = True
