"""What tests of the inbox share: telling an account something, as the worker does, and listening to its stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx

from tests.factories import Api, Person
from todo_core.inbox.repository import Inboxes

PATIENCE = 40
"""Seconds after which what has not come will not come: a machine that is busy may take its time."""


async def tell(
    api: Api, person: Person, title: str, delivery_id: str | None = None, todo_id: str | None = None
) -> int | None:
    """What the worker's inbox channel does."""
    inboxes = Inboxes(api.process.database.statements)
    return await inboxes.add(
        account_id=person.id,
        kind="reminder",
        title=title,
        delivery_id=delivery_id,
        todo_id=todo_id or str(uuid4()),
        due_at=None,
    )


async def ring(api: Api, person: Person, seq: int | None) -> None:
    """What the worker says on Redis after its commit, if it can."""

    async def publish(redis: Any) -> None:
        await redis.publish(f"todo:inbox:{person.id}", seq)

    await api.process.redis.attempt(publish)


@asynccontextmanager
async def stream(
    person: Person, *, last: str | None = None, params: dict[str, Any] | None = None
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """What a client sees who resumes after `last`: each event's fields, `data` as JSON; comments are left out."""
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
