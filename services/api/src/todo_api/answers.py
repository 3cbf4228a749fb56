"""Todos as JSON: encoded once, in one shape, whether they come from a hot read or from a model."""

from typing import Any

import asyncpg
import orjson
from starlette.responses import Response

from todo_core.todos.models import Todo
from todo_core.todos.service import Page

_PRIVATE = "private, no-cache"
"""Others must not keep it, and the person's own client asks again (with its ETag) before it shows what it kept."""


def _item(row: Any) -> dict[str, object]:
    return {
        "id": row["id"],
        "title": row["title"],
        "description": row["description"],
        "due_at": row["due_at"],
        "completed": row["completed"],
        "completed_at": row["completed_at"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "version": row["version"],
    }


def encode_page(page: Page) -> bytes:
    """`{"items": […], "next_cursor": …}`."""
    return orjson.dumps(
        {"items": [_item(row) for row in page.rows], "next_cursor": page.next_cursor}, option=orjson.OPT_UTC_Z
    )


def page_answer(body: bytes) -> Response:
    """An encoded page."""
    return Response(body, media_type="application/json", headers={"Cache-Control": _PRIVATE})


def todo_answer(todo: Todo | asyncpg.Record, *, status: int = 200, location: str | None = None) -> Response:
    """One todo, with its version as a strong ETag."""
    item = _item(todo.__dict__ if isinstance(todo, Todo) else todo)
    headers = {"Cache-Control": _PRIVATE, "ETag": f'"{item["version"]}"'}
    if location is not None:
        headers["Location"] = location
    # default: a model that was loaded holds asyncpg's own UUID class, which orjson does not know.
    return Response(orjson.dumps(item, default=str, option=orjson.OPT_UTC_Z), status, headers, "application/json")


def not_modified(version: int) -> Response:
    """304: the client's copy is current."""
    return Response(status_code=304, headers={"Cache-Control": _PRIVATE, "ETag": f'"{version}"'})
