"""Logs of our code and of libraries on standard output: JSON lines, or coloured lines on a terminal."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import asyncpg
import orjson
import structlog

from todo_core.settings import RuntimeSettings


def _json(event: dict[str, Any], **_: object) -> bytes:
    return orjson.dumps(event, default=repr)


def _format_exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write out the traceback, but not the row that PostgreSQL quotes in the DETAIL of a constraint that was broken."""
    error = event.get("exc_info")
    # A line that is written while an error is handled may have no traceback: then there is nothing to leave out.
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


def _render_for_eyes(logger: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    """Write one coloured line; for a request: status, method, route, milliseconds."""
    if event.get("event") == "request":
        words = [str(event.pop(name)) for name in ("status", "method", "route", "ms")]
        event["event"] = f"{' '.join(words)} ms"
        event = {name: value for name, value in event.items() if value is not None and name != "request_id"}
    line: str = structlog.dev.ConsoleRenderer(pad_event_to=0)(logger, method, event)
    return line.encode()


def configure(settings: RuntimeSettings) -> None:
    """Route every log line of this process through structlog. Call once, when the process starts."""
    for_eyes = sys.stdout.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("%H:%M:%S" if for_eyes else "iso", utc=not for_eyes),
        _format_exception,
    ]
    render: Any = _render_for_eyes if for_eyes else structlog.processors.JSONRenderer(serializer=_json)
    structlog.configure(
        processors=[*shared, render],
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
                render,
                lambda *given: given[-1].decode(),
            ],
        )
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "gunicorn.error"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # Our middleware writes the one line a request, with the id and without the query string.
    logging.getLogger("uvicorn.access").disabled = True
