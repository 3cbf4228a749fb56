"""What people do with the product, from outside: through nginx, over TLS, with everything behind it in containers."""

from __future__ import annotations

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
from tests.stack.witness import mails, text_of, verify_address
from tests.streaming import stream as listening

pytestmark = pytest.mark.timeout(60)
TOLD_WITHIN = 5.0
"""Seconds after the due time by which every channel has told."""


def soon(seconds: float) -> str:
    """In so many seconds."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def _inbox(person: Person) -> list[dict[str, Any]]:
    answer = await person.get("/notifications/")
    assert answer.status_code == 200
    return list(answer.json()["items"])


async def _reminder(person: Person, todo_id: str) -> dict[str, Any]:
    """A todo's only reminder."""
    (reminder,) = (await person.get(f"/todos/{todo_id}/reminders")).json()["items"]
    return dict(reminder)


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
    """The stream up to the first notification about a todo."""
    async for event in events:
        if "data" in event:
            yield event
            if event["data"]["todo_id"] == todo_id:
                return


async def test_a_todo_is_completed_reopened_changed_and_deleted(lin: Person) -> None:
    todo = await lin.add_todo("Buy milk", description="Two litres")
    path = f"/todos/{todo['id']}"
    completed = (await lin.post(f"{path}/complete")).json()
    assert completed["completed"] is True
    reopened = (await lin.post(f"{path}/reopen")).json()
    assert (reopened["completed"], reopened["completed_at"]) == (False, None)
    changed = await lin.patch(path, json={"title": "Buy oat milk"}, headers={"If-Match": f'"{reopened["version"]}"'})
    assert changed.status_code == 200, changed.text
    stale = await lin.patch(path, json={"title": "Buy tea"}, headers={"If-Match": f'"{reopened["version"]}"'})
    assert stale.status_code == 412
    assert (await lin.get(path)).json()["title"] == "Buy oat milk"
    assert (await lin.delete(path)).status_code == 204
    assert (await lin.get(path)).status_code == 404


async def test_what_is_somebody_elses_does_not_exist(lin: Person, wang: Person) -> None:
    path = f"/todos/{(await lin.add_todo('Mine'))['id']}"
    answers = [
        await wang.get(path),
        await wang.patch(path, json={"title": "His"}),
        await wang.post(f"{path}/complete"),
        await wang.delete(path),
        await wang.get(f"{path}/reminders"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "todo_not_found")] * 5
    assert (await wang.list())["items"] == []
    assert (await lin.get(path)).json()["title"] == "Mine"


async def test_pages_follow_each_other_without_a_gap(lin: Person) -> None:
    for number in range(25):
        await lin.add_todo(f"Todo {number}")
    pages = await lin.walk(limit=10, sort="created_at")
    assert [todo["title"] for todo in pages] == [f"Todo {number}" for number in range(25)]


async def test_a_refresh_token_is_good_for_one_exchange(lin: Person) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": lin.tokens["refresh_token"]}
    first = await lin.http.post("/token", data=form)
    assert first.status_code == 200
    lin.tokens = first.json()
    assert (await lin.get("/users/me/")).json()["username"] == lin.username
    again = await lin.http.post("/token", data=form)
    assert (again.status_code, again.json()["code"]) == (400, "refresh_token_reused")


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
