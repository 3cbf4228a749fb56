"""Reminders over HTTP: a todo's own, with what became of each."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

import asyncpg
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.types import JsonValue
from pydantic_core import PydanticCustomError

from todo_api.dependencies import Browser, Changes, CurrentUser, TodoId
from todo_api.fields import Duration, omitted
from todo_api.openapi import problems
from todo_api.routing import Route
from todo_core.reminders.models import DeliveryState, ReminderState
from todo_core.reminders.plan import PlannedReminder, ReminderSpec
from todo_core.reminders.schedule import Offset
from todo_core.reminders.service import MOST_REMINDERS, shown_state
from todo_core.todos.service import TodoService
from todo_core.values import Timestamp

router = APIRouter(prefix="/todos", tags=["reminders"], route_class=Route)


def _one_of_two(first: str, second: str, **example: str) -> dict[str, Any]:
    return {"oneOf": [{"required": [first]}, {"required": [second]}], "examples": [example]}


_EXAMPLE: dict[str, JsonValue] = {
    "id": "01890000-0000-7000-8000-000000000001",
    "before": "PT30M",
    "at": None,
    "remind_at": "2026-12-01T00:30:00Z",
    "state": "sent",
    "deliveries": [
        {
            "id": "5f2b8c1e-7d0a-4f3c-9a57-2f8f2b6f9a10",
            "channel": "inbox",
            "endpoint_id": None,
            "state": "sent",
            "attempts": 1,
            "last_error": None,
            "settled_at": "2026-12-01T00:30:00.123456Z",
        }
    ],
}
_SNOOZED: dict[str, JsonValue] = {
    **_EXAMPLE,
    "before": None,
    "at": "2026-12-01T01:30:00Z",
    "remind_at": "2026-12-01T01:30:00Z",
    "state": "scheduled",
    "deliveries": [],
}


class ReminderIn(BaseModel):
    """When to remind: so long before the due time, or at an instant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_one_of_two("before", "at", before="PT30M"))

    before: Duration = omitted()
    at: Timestamp = omitted()

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("before_or_at", "before_or_at")
        return self

    @property
    def spec(self) -> ReminderSpec:
        """As the rules take it."""
        return ReminderSpec(before=self.before, at=self.at)


def _few_and_different(reminders: list[ReminderIn]) -> list[ReminderIn]:
    if len(reminders) > MOST_REMINDERS:
        raise PydanticCustomError("too_many", "too_many", {"most": MOST_REMINDERS})
    if len({reminder.spec for reminder in reminders}) < len(reminders):
        raise PydanticCustomError("repeated", "repeated")
    return reminders


RemindersIn = Annotated[
    list[ReminderIn],
    AfterValidator(_few_and_different),
    Field(
        description=f"at most {MOST_REMINDERS}, none twice; instead of the account's defaults",
        json_schema_extra={"maxItems": MOST_REMINDERS, "uniqueItems": True},
    ),
]


class Snooze(BaseModel):
    """Until when: an instant, or so long from now."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_one_of_two("until", "for", **{"for": "PT30M"}))

    until: Timestamp = omitted()
    duration: Duration = omitted(alias="for")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("until_or_for", "until_or_for")
        return self


class DeliveryPublic(BaseModel):
    """A reminder on its way by one channel."""

    id: UUID
    channel: str = Field(examples=["inbox"])
    endpoint_id: UUID | None = Field(description="the webhook; null for the inbox and e-mail")
    state: DeliveryState
    attempts: int
    last_error: str | None
    settled_at: datetime | None


class ReminderPublic(BaseModel):
    """One moment at which the owner of a todo hears of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SNOOZED, _EXAMPLE]})

    id: UUID
    before: str | None = Field(description="so long before the due time", examples=["PT30M"])
    at: datetime | None = Field(description="or at this instant")
    remind_at: datetime | None = Field(description="when it goes out, after quiet hours; null without a due time")
    state: ReminderState = Field(description="`sent` once any channel has delivered")
    deliveries: list[DeliveryPublic]


class ReminderList(BaseModel):
    """A todo's reminders, by time."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE]}]})

    items: list[ReminderPublic]


def _public(reminder: PlannedReminder, deliveries: list[asyncpg.Record]) -> ReminderPublic:
    before = None
    if reminder.before_days is not None and reminder.before_seconds is not None:
        before = str(Offset(reminder.before_days, reminder.before_seconds))
    return ReminderPublic(
        id=UUID(str(reminder.id)),
        before=before,
        at=reminder.at,
        remind_at=reminder.remind_at,
        state=shown_state(reminder, deliveries),
        deliveries=[
            DeliveryPublic(
                id=delivery["id"],
                channel=delivery["channel"],
                endpoint_id=delivery["endpoint_id"] if delivery["channel"] == "webhook" else None,
                state=DeliveryState(delivery["state"]),
                attempts=delivery["attempts"],
                last_error=delivery["last_error"],
                settled_at=delivery["settled_at"],
            )
            for delivery in deliveries
        ],
    )


@router.get("/{todo_id}/reminders", summary="A todo's reminders", responses=problems(401, 404, 422))
async def list_todo_reminders(todo_id: TodoId, user: CurrentUser, todos: Browser) -> ReminderList:
    """Each with its state, and under it each of its deliveries."""
    found = await todos.reminders(user, todo_id)
    return ReminderList(items=[_public(reminder, deliveries) for reminder, deliveries in found])


@router.post(
    "/{todo_id}/snooze",
    status_code=201,
    summary="Remind once more",
    responses=problems(401, 404, 413, 415, 422),
)
async def snooze_todo(todo_id: TodoId, body: Snooze, user: CurrentUser, changes: Changes) -> ReminderPublic:
    """At an instant (`until`) or after a while (`for`). The todo's other reminders stay as they are."""
    until: datetime | timedelta = body.until
    if "duration" in body.model_fields_set:
        until = timedelta(body.duration.days, body.duration.seconds)
    async with changes.transaction() as transaction:
        reminder = await TodoService(transaction).snooze(user, todo_id, until)
    return _public(reminder, [])
