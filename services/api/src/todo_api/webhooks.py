"""Webhooks over HTTP: the addresses that an account's reminders are posted to."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.types import JsonValue

from todo_api.dependencies import CurrentUser, Webhooks
from todo_api.fields import WebhookUrl, omitted
from todo_api.openapi import Responses, problem_answer, problems
from todo_api.routing import Route, operation_id
from todo_core.webhooks.events import ReminderDue

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=Route)

_EXAMPLE: dict[str, JsonValue] = {
    "id": "01890000-0000-7000-8000-000000000003",
    "url": "https://example.com/hooks/todo",
    "active": True,
    "failing_since": None,
    "disabled_at": None,
    "previous_secret_until": None,
    "created_at": "2026-11-24T08:30:00.123456Z",
}
_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105 - the example of the Standard Webhooks specification
_NOT_FOUND: Responses = {404: problem_answer("webhook_not_found")}

WebhookId = Annotated[UUID, Path(description="the webhook's id")]


class WebhookCreate(BaseModel):
    """A new webhook."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"url": _EXAMPLE["url"]}]})

    url: WebhookUrl


class WebhookPatch(BaseModel):
    """What changes: only what is sent."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"active": True}]})

    url: WebhookUrl = omitted()
    active: StrictBool = omitted(description="true also after it was switched off for failing too long")


class WebhookPublic(BaseModel):
    """A webhook, without its secret."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    url: str
    active: bool
    failing_since: datetime | None = Field(description="since when every attempt has failed")
    disabled_at: datetime | None = Field(description="when it was switched off for failing too long")
    previous_secret_until: datetime | None = Field(description="until when the secret before the last signs as well")
    created_at: datetime


class WebhookWithSecret(WebhookPublic):
    """A webhook, with the secret that it signs with from now on. It is not shown again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_EXAMPLE, "secret": _SECRET}]})

    secret: str = Field(description="for a library of Standard Webhooks (https://www.standardwebhooks.com)")


class WebhookList(BaseModel):
    """All of the account's webhooks, the oldest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE]}]})

    items: list[WebhookPublic]


@router.get("/", summary="List webhooks", responses=problems(401))
async def list_webhooks(user: CurrentUser, webhooks: Webhooks) -> WebhookList:
    """All of them: an account has a handful at most."""
    return WebhookList(items=[WebhookPublic.model_validate(dict(row)) for row in await webhooks.of(user)])


@router.post(
    "/",
    status_code=201,
    summary="Add a webhook",
    responses={**problems(401, 413, 415, 422), 409: problem_answer("too_many_webhooks")},
)
async def create_webhook(body: WebhookCreate, user: CurrentUser, webhooks: Webhooks) -> WebhookWithSecret:
    """The answer holds its secret, which is not shown again: requests are signed with it."""
    return WebhookWithSecret.model_validate(await webhooks.add(user, body.url))


@router.patch("/{webhook_id}", summary="Change a webhook", responses={**problems(401, 413, 415, 422), **_NOT_FOUND})
async def update_webhook(
    webhook_id: WebhookId, body: WebhookPatch, user: CurrentUser, webhooks: Webhooks
) -> WebhookPublic:
    """Changes only what is sent. Switching it on, or another URL, forgets past failures."""
    return WebhookPublic.model_validate(await webhooks.update(user, webhook_id, body.model_dump(exclude_unset=True)))


@router.post(
    "/{webhook_id}/rotate-secret",
    summary="Give a webhook a new secret",
    responses={**problems(401, 422), **_NOT_FOUND},
)
async def rotate_webhook_secret(webhook_id: WebhookId, user: CurrentUser, webhooks: Webhooks) -> WebhookWithSecret:
    """The one before signs as well for a day, so that the receiver can be changed without missing a request."""
    return WebhookWithSecret.model_validate(await webhooks.rotate_secret(user, webhook_id))


@router.delete(
    "/{webhook_id}", status_code=204, summary="Delete a webhook", responses={**problems(401, 422), **_NOT_FOUND}
)
async def delete_webhook(webhook_id: WebhookId, user: CurrentUser, webhooks: Webhooks) -> None:
    """For good. What is being sent to it at this moment still arrives."""
    await webhooks.delete(user, webhook_id)


_SIGNED = [
    ("webhook-id", "The delivery's id: the same for every attempt. Do nothing for one that you have seen"),
    (
        "webhook-timestamp",
        "When this attempt was made, in seconds since 1970. Refuse one that is older than five minutes",
    ),
    ("webhook-signature", "`v1,` and a signature for each secret that is good, with spaces between: one has to fit"),
]
_VERIFIED = {
    "parameters": [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in _SIGNED
    ]
}
events = APIRouter(generate_unique_id_function=operation_id)
"""What we send, for the `webhooks` section of OpenAPI. Nothing of it is served."""


@events.post(
    "reminder.due",
    summary="A reminder is due",
    tags=["webhooks"],
    status_code=204,
    responses={
        204: {"description": "Any 2xx: it has arrived"},
        410: {"description": "No more of these: the webhook is switched off, and its owner is told in the inbox"},
        "default": {"description": "Anything else, or no answer in time: it is tried again for a day"},
    },
    openapi_extra=_VERIFIED,
)
async def reminder_due(event: ReminderDue) -> None:
    """What is posted to each active webhook of a todo's owner, as [Standard Webhooks](https://www.standardwebhooks.com)
    has it.

    To verify: take the part of the secret after `whsec_`, decode it from Base64, and make an HMAC-SHA256 with it of
    `webhook-id`, `webhook-timestamp` and the body as it came, with dots between. Its Base64 is one of the signatures in
    `webhook-signature`; compare in constant time. The libraries of Standard Webhooks do all of this.

    Every attempt has the same `webhook-id` and, byte for byte, the same body: what the todo said at the first. The
    timestamp and the signature are each attempt's own.
    """
