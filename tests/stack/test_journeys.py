"""User journeys from outside: through nginx, over TLS, with all services in containers."""

from __future__ import annotations

import email
import email.policy
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.factories import Person
from tests.stack.stack import Stack
from tests.stack.waiting import until
from tests.streaming import stream as listening

pytestmark = pytest.mark.timeout(60)
TOLD_WITHIN = 5.0
"""Seconds after the due time by which every channel has delivered."""


def soon(seconds: float) -> str:
    """Return the instant in so many seconds."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def _inbox(person: Person) -> list[dict[str, Any]]:
    answer = await person.get("/notifications/")
    assert answer.status_code == 200
    return list(answer.json()["items"])


async def _reminder(person: Person, todo_id: str) -> dict[str, Any]:
    """Return a todo's only reminder."""
    (reminder,) = (await person.get(f"/todos/{todo_id}/reminders")).json()["items"]
    return dict(reminder)


def text_of(mail: str) -> str:
    """Return the plain text of a mail."""
    body = email.message_from_string(mail, policy=email.policy.default).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def mails(stack: Stack, address: str, count: int = 1) -> list[str]:
    """Wait for so many mails to an address, and return them."""

    async def enough() -> list[str] | None:
        found = await stack.mails(address)
        return found if len(found) >= count else None

    found = await until(enough, 20, f"{count} mails to {address}")
    assert found is not None
    return found


async def verify_address(stack: Stack, person: Person) -> None:
    """Ask for the mail, and press the button on the page that its link leads to."""
    assert (await person.post("/users/me/verify-email")).status_code == 202
    (mail,) = await mails(stack, person.email)
    link = re.search(r"https?://\S+/verify-email\?\S+", text_of(mail))
    assert link is not None
    assert link[0].startswith(stack.base_url), "the link leads to where people reach the service"
    page = await person.http.get(link[0])
    assert page.status_code == 200
    assert "<button" in page.text
    assert (await person.http.post(link[0])).status_code == 200
    assert (await person.get("/users/me/")).json()["email_verified"] is True


async def test_a_reminder_reaches_inbox_stream_mail_and_webhook_once_each(stack: Stack, lin: Person) -> None:
    await verify_address(stack, lin)
    hook = (await lin.post("/webhooks/", json={"url": f"http://receiver:8000/hooks/{lin.username}"})).json()
    channels = {"inbox": True, "email": True, "webhook": True}
    assert (await lin.patch("/users/me/preferences", json={"channels": channels})).status_code == 200

    async with listening(lin) as events:
        todo = await lin.add_todo("Renew the passport", due_at=soon(2))
        told = [event async for event in _first(events, todo["id"])]
    due = datetime.fromisoformat(todo["due_at"])
    assert datetime.now(UTC) - due < timedelta(seconds=TOLD_WITHIN)

    async def settled() -> bool:
        deliveries = (await _reminder(lin, todo["id"]))["deliveries"]
        return len(deliveries) == 3 and all(delivery["state"] == "sent" for delivery in deliveries)

    await until(settled, TOLD_WITHIN, "three deliveries")
    ids = {item["channel"]: item["id"] for item in (await _reminder(lin, todo["id"]))["deliveries"]}

    assert [event["data"]["delivery_id"] for event in told] == [ids["inbox"]]
    assert [(item["delivery_id"], item["title"]) for item in await _inbox(lin)] == [
        (ids["inbox"], "Renew the passport")
    ]
    _, reminder_mail = await mails(stack, lin.email, 2)
    assert "Renew the passport" in text_of(reminder_mail)
    (posted,) = await stack.posted(lin.username)
    assert posted["headers"]["webhook-id"] == ids["webhook"]
    payload = Webhook(hook["secret"]).verify(posted["body"].encode(), posted["headers"])
    assert json.loads(posted["body"]) == payload
    assert "Renew the passport" in posted["body"]


async def _first(events: Any, todo_id: str) -> Any:
    """Read the stream up to the first notification about a todo, and return it."""
    async for event in events:
        if "data" in event:
            yield event
            if event["data"]["todo_id"] == todo_id:
                return


async def test_swagger_ui_finds_everything_that_it_asks_for(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) >= 3, "a script, a style and an icon at least"
    for asset in assets:
        assert asset.startswith("/"), "nothing comes from another host"
        assert (await http.get(asset)).status_code == 200, asset
    described = (await http.get("/openapi.json")).json()
    assert "/todos/{todo_id}/complete" in described["paths"]
