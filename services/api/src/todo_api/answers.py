"""Todos as JSON: rows of statements, encoded once. A row begins with the columns that people see, in their order."""

import asyncpg
import orjson
from starlette.responses import Response

from todo_core.todos.models import COLUMNS
from todo_core.todos.service import Page

_PRIVATE = "private, no-cache"
"""Others must not keep it, and the person's own client asks again (with its ETag) before it shows what it kept."""


def encode_page(page: Page) -> bytes:
    """`{"items": […], "next_cursor": …}`."""
    return orjson.dumps(
        {"items": [dict(zip(COLUMNS, row, strict=False)) for row in page.rows], "next_cursor": page.next_cursor},
        option=orjson.OPT_UTC_Z,
    )


def page_answer(body: bytes) -> Response:
    """An encoded page: it has no ETag, so that `Route` says `no-store`."""
    return Response(body, media_type="application/json")


def todo_answer(todo: asyncpg.Record, *, status: int = 200, location: str | None = None) -> Response:
    """One todo, with its version as a strong ETag."""
    headers = {"Cache-Control": _PRIVATE, "ETag": f'"{todo["version"]}"'}
    if location is not None:
        headers["Location"] = location
    item = dict(zip(COLUMNS, todo, strict=False))
    return Response(orjson.dumps(item, option=orjson.OPT_UTC_Z), status, headers, "application/json")


def not_modified(version: int) -> Response:
    """304: the client's copy is current."""
    return Response(status_code=304, headers={"Cache-Control": _PRIVATE, "ETag": f'"{version}"'})
