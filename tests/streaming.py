"""Helpers for tests of the inbox: add notifications as the worker does, and read streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx

from tests.factories import Api, Person
from todo_core.database import StatementPool
from todo_core.inbox.repository import Inboxes, Leased

PATIENCE = 40
"""Seconds until a missing event counts as lost: a busy machine may be slow."""


_LEASED = """
WITH todo AS (
    INSERT INTO todos (id, owner_id, title, created_at, updated_at)
    SELECT $3::uuid, id, $2, now(), now() FROM accounts WHERE id = $1::uuid
    ON CONFLICT (id) DO UPDATE SET title = excluded.title RETURNING id, owner_id
), reminder AS (
    INSERT INTO reminders (id, account_id, todo_id, at, remind_at, state, claimed_at)
    SELECT gen_random_uuid(), owner_id, id, now(), now(), 'claimed', now() FROM todo RETURNING id, account_id
), delivery AS (
    INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at, next_attempt_at, fence)
    SELECT $4::uuid, id, 1, 'inbox', account_id, now(), now() + interval '1 day', 1 FROM reminder
    ON CONFLICT (id) DO NOTHING
)
SELECT id FROM reminder
"""


async def leased(
    statements: StatementPool,
    account_id: str,
    title: str,
    *,
    delivery_id: str | None = None,
    todo_id: str | None = None,
) -> Leased:
    """Insert a delivery to an inbox, leased by a worker, with its todo and its reminder."""
    delivery = Leased(delivery_id or str(uuid4()), 1, account_id)
    await statements.fetch(_LEASED, account_id, title, todo_id or str(uuid4()), delivery.delivery_id)
    return delivery


async def tell(
    api: Api, person: Person, title: str, delivery_id: str | None = None, todo_id: str | None = None
) -> int | None:
    """Add a notification as the worker's inbox channel does."""
    statements = api.process.database.statements
    delivery = await leased(statements, person.id, title, delivery_id=delivery_id, todo_id=todo_id)
    (announced,) = await Inboxes(statements).announce([delivery])
    return announced.seq


async def ring(api: Api, person: Person, seq: int | None) -> None:
    """Publish on Redis as the worker does after its commit."""

    async def publish(redis: Any) -> None:
        await redis.publish(f"todo:inbox:{person.id}", seq)

    await api.process.redis.attempt(publish)


@asynccontextmanager
async def stream(
    person: Person, *, last: str | None = None, params: dict[str, Any] | None = None
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Open a stream, resumed after `last`; give each event's fields, with `data` parsed, without comments."""
    headers = person.headers | ({} if last is None else {"Last-Event-ID": last})

    async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        event: dict[str, Any] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if not line and event:
                yield event
                event = {}
            elif name:
                event[name] = json.loads(value) if name == "data" else value

    async with person.http.stream("GET", "/notifications/stream", params=params, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield events(response)


async def titles(events: AsyncIterator[dict[str, Any]], count: int) -> list[str]:
    """Of the next notifications."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if "data" in event:
                assert int(event["id"]) == event["data"]["seq"]
                found.append(event["data"]["title"])
            if len(found) == count:
                return found
    raise AssertionError("the stream ended")
