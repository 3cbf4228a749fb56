"""The inbox over HTTP: what an account was told, and what of it was read."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.types import JsonValue

from todo_api.dependencies import CurrentUser, ProcessDep
from todo_api.fields import omitted
from todo_api.openapi import problem_answer, problems, query_parameters
from todo_api.routing import Route, read_query
from todo_core.inbox.repository import LARGEST_SEQ

router = APIRouter(prefix="/notifications", tags=["notifications"], route_class=Route)

_EXAMPLE: dict[str, JsonValue] = {
    "id": "01890000-0000-7000-8000-000000000002",
    "kind": "reminder",
    "delivery_id": "5f2b8c1e-7d0a-4f3c-9a57-2f8f2b6f9a10",
    "todo_id": "01890000-0000-7000-8000-000000000000",
    "title": "Buy milk",
    "due_at": "2026-12-01T01:00:00Z",
    "created_at": "2026-12-01T01:00:00.123456Z",
    "read_at": None,
    "seq": 42,
}


class NotificationPublic(BaseModel):
    """Something that the account was told."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    kind: str = Field(description="`reminder`, or `webhook_disabled` (its title is the webhook's URL)")
    delivery_id: UUID | None = Field(description="the delivery that brought it")
    todo_id: UUID | None = Field(description="what it is about; the todo may be gone by now")
    title: str = Field(description="the todo's, when it was sent")
    due_at: datetime | None = Field(description="the todo's, when it was sent")
    created_at: datetime
    read_at: datetime | None
    seq: int = Field(description="counts up within the account; the `id` of its event in the stream")


class NotificationPage(BaseModel):
    """A page of notifications."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE], "next_cursor": None}]})

    items: list[NotificationPublic]
    next_cursor: str | None = Field(description="for the next page; null on the last")


class NotificationListQuery(BaseModel):
    """What to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100, description="notifications on a page")
    cursor: str | None = Field(None, description="next_cursor of the page before, with the same filter")
    unread: bool = Field(False, description="only those that are not read yet")


def _whole(value: object) -> object:
    # 42.0 is a whole number too in JSON (JSON Schema, section 6.1.1); strict validation would refuse it.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class MarkRead(BaseModel):
    """How far: everything, if nothing is said."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"up_to": 42}]})

    up_to: Annotated[int, Field(strict=True, ge=0, le=LARGEST_SEQ), BeforeValidator(_whole)] = omitted(
        description="only those whose `seq` is at most this: what came later was not seen yet", examples=[42]
    )


class MarkedRead(BaseModel):
    """How many were not read before."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"marked": 3}]})

    marked: int = Field(examples=[3])


_FIRST_PAGE = NotificationListQuery()


@router.get(
    "/",
    response_model=NotificationPage,
    summary="List notifications",
    responses=problems(401, 422),
    openapi_extra=query_parameters(NotificationListQuery),
)
async def list_notifications(request: Request, user: CurrentUser, process: ProcessDep) -> Response:
    """The newest first, a page at a time. What arrives meanwhile moves no page."""
    query = read_query(NotificationListQuery, request) if request.scope["query_string"] else _FIRST_PAGE
    page = await process.inbox.page(user, limit=query.limit, cursor=query.cursor, unread=query.unread)
    return _answer({"items": [dict(row) for row in page.rows], "next_cursor": page.next_cursor})


@router.post("/read", summary="Mark all as read", responses=problems(401, 413, 415, 422))
async def mark_all_notifications_read(
    request: Request, user: CurrentUser, process: ProcessDep, body: MarkRead | None = None
) -> MarkedRead:
    """Idempotent. With `up_to`, only those up to that number."""
    if body is None and await request.body():  # the body may be left out, but `null` is not an object
        raise RequestValidationError([{"type": "model_type", "loc": ("body",), "msg": "", "input": None}])
    return MarkedRead(marked=await process.inbox.mark_all_read(user, body.up_to if body else None))


@router.post(
    "/{notification_id}/read",
    response_model=NotificationPublic,
    summary="Mark one as read",
    responses={**problems(401, 422), 404: problem_answer("notification_not_found")},
)
async def mark_notification_read(
    notification_id: Annotated[UUID, Path(description="the notification's id")], user: CurrentUser, process: ProcessDep
) -> Response:
    """Idempotent: one that is read already keeps its first time."""
    return _answer(dict[str, object](await process.inbox.mark_read(user, notification_id)))


def _answer(content: dict[str, object] | asyncpg.Record) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), media_type="application/json")
