"""The inbox and preferences over HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.factories import Api, Person
from tests.streaming import tell
from todo_core.paging import Place, encode_cursor

# ---- the inbox


async def test_notifications_come_newest_first_in_pages_that_what_arrives_does_not_move(api: Api, lin: Person) -> None:
    for number in range(7):
        await tell(api, lin, f"n{number}", str(uuid4()))
    first = (await lin.get("/notifications/", params={"limit": 3})).json()
    await tell(api, lin, "late", str(uuid4()))
    titles = [item["title"] for item in first["items"]]
    cursor = first["next_cursor"]
    while cursor:
        page = (await lin.get("/notifications/", params={"limit": 3, "cursor": cursor})).json()
        titles += [item["title"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert titles == [f"n{number}" for number in range(6, -1, -1)]


async def test_a_repeat_of_a_delivery_brings_no_second_notification(api: Api, lin: Person) -> None:
    delivery = str(uuid4())
    assert await tell(api, lin, "a", delivery) == 1
    assert await tell(api, lin, "a", delivery) is None
    assert len((await lin.get("/notifications/")).json()["items"]) == 1


async def test_one_or_all_are_marked_as_read_and_keep_their_first_time(api: Api, lin: Person, wang: Person) -> None:
    for number in range(4):
        await tell(api, lin, f"n{number}")
    items = (await lin.get("/notifications/")).json()["items"]
    read = await lin.post(f"/notifications/{items[0]['id']}/read")
    assert read.status_code == 200
    assert read.json()["read_at"] is not None
    assert (await lin.post(f"/notifications/{items[0]['id']}/read")).json() == read.json()
    assert (await wang.post(f"/notifications/{items[1]['id']}/read")).status_code == 404
    unread = (await lin.get("/notifications/", params={"unread": "true"})).json()["items"]
    assert [item["title"] for item in unread] == ["n2", "n1", "n0"]
    assert (await lin.post("/notifications/read", json={"up_to": items[2]["seq"]})).json() == {"marked": 2}
    assert (await lin.post("/notifications/read")).json() == {"marked": 1}
    assert (await lin.post("/notifications/read")).json() == {"marked": 0}
    null = await lin.post("/notifications/read", content=b"null", headers={"Content-Type": "application/json"})
    assert (null.status_code, [(e["in"], e["rule"]) for e in null.json()["errors"]]) == (422, [("body", "required")])
    assert (await lin.get("/notifications/", params={"unread": "true"})).json()["items"] == []


@pytest.mark.parametrize(
    ("params", "field"), [({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"cursor": "x"}, "cursor"),
                          ({"unread": "perhaps"}, "unread"), ({"page": 2}, "page")],
)  # fmt: skip
async def test_a_question_to_the_inbox_that_makes_no_sense_is_refused(
    lin: Person, params: dict[str, Any], field: str
) -> None:
    answer = await lin.get("/notifications/", params=params)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_the_inbox_is_its_owners_alone(api: Api, lin: Person, wang: Person) -> None:
    await tell(api, wang, "secret")
    assert (await lin.get("/notifications/")).json()["items"] == []
    assert (await api.http.get("/notifications/")).status_code == 401


# ---- preferences


DEFAULTS = {
    "default_reminders": ["PT0S"],
    "channels": {"inbox": True, "email": True, "webhook": True},
    "quiet_hours": None,
    "timezone": "UTC",
    "email_verified": False,
}
PREFERENCES = "/users/me/preferences"


async def reminds(person: Person, todo: dict[str, Any]) -> list[datetime]:
    """Return the instants of the todo's reminders."""
    items = (await person.get(f"/todos/{todo['id']}/reminders")).json()["items"]
    return [datetime.fromisoformat(item["remind_at"]) for item in items]


async def test_preferences_have_defaults_and_change_only_where_told(lin: Person) -> None:
    assert (await lin.get(PREFERENCES)).json() == DEFAULTS
    changed = await lin.patch(PREFERENCES, json={"channels": {"webhook": False}, "timezone": "Asia/Shanghai"})
    expected = DEFAULTS | {"channels": {"inbox": True, "email": True, "webhook": False}, "timezone": "Asia/Shanghai"}
    assert changed.json() == expected
    assert (await lin.patch(PREFERENCES, json={})).json() == expected
    assert (await lin.get("/users/me/")).json()["timezone"] == "Asia/Shanghai"


async def test_a_change_of_preferences_moves_the_reminders_that_are_to_come(lin: Person) -> None:
    due = (datetime.now(UTC) + timedelta(days=3)).replace(hour=23, minute=30, second=0, microsecond=0)
    todo = await lin.add_todo(due_at=due.isoformat())
    own = await lin.add_todo(due_at=due.isoformat(), reminders=[{"before": "PT5M"}])
    await lin.patch(PREFERENCES, json={"default_reminders": ["PT1H", "PT0S"]})
    assert await reminds(lin, todo) == [due - timedelta(hours=1), due]
    assert await reminds(lin, own) == [due - timedelta(minutes=5)]
    await lin.patch(PREFERENCES, json={"quiet_hours": {"start": "22:00", "end": "07:00"}})
    morning = (due + timedelta(hours=7, minutes=30)).replace(hour=7, minute=0)
    assert await reminds(lin, todo) == [morning, morning]
    await lin.patch("/users/me/", json={"timezone": "Asia/Shanghai"})  # 07:30 there: quiet hours are over
    assert await reminds(lin, todo) == [due - timedelta(minutes=30), due]
    await lin.patch(PREFERENCES, json={"quiet_hours": None})
    assert await reminds(lin, todo) == [due - timedelta(hours=1), due]


async def test_a_cursor_belongs_to_its_filter(api: Api, lin: Person) -> None:
    for title in "abc":
        await tell(api, lin, title)
    cursor = (await lin.get("/notifications/", params={"limit": 1})).json()["next_cursor"]
    other = await lin.get("/notifications/", params={"cursor": cursor, "unread": "true"})
    assert (other.status_code, other.json()["errors"][0]["rule"]) == (422, "cursor")


@pytest.mark.parametrize("key", ["", "-1", "1.5", "x", str(2**63), "9" * 40, None, "٣"])
async def test_a_cursor_that_is_made_up_is_refused(lin: Person, key: str | None) -> None:
    cursor = encode_cursor("notifications|False", Place(key, uuid4()))
    answer = await lin.get("/notifications/", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


@pytest.mark.parametrize("up_to", [-1, "3", 1.5, None, True, 2**64])
async def test_how_far_to_mark_as_read_is_a_number(api: Api, lin: Person, up_to: Any) -> None:
    await tell(api, lin, "a")
    answer = await lin.post("/notifications/read", json={"up_to": up_to})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "up_to")
    assert len((await lin.get("/notifications/", params={"unread": "true"})).json()["items"]) == 1


async def test_all_are_marked_once_however_many_ask_at_once(api: Api, lin: Person) -> None:
    for number in range(50):
        await tell(api, lin, f"n{number}")
    answers = await asyncio.gather(*(lin.post("/notifications/read") for _ in range(10)))
    assert sum(answer.json()["marked"] for answer in answers) == 50


async def test_a_notification_outlives_its_todo_and_goes_with_its_account(
    api: Api, lin: Person, database_url: str
) -> None:
    todo = await lin.add_todo("Buy milk")
    await tell(api, lin, "Buy milk", todo_id=todo["id"])
    await lin.delete(f"/todos/{todo['id']}")
    (item,) = (await lin.get("/notifications/")).json()["items"]
    assert item["todo_id"] == todo["id"]
    await lin.delete("/users/me", json={"password": lin.password})
    assert (await lin.get("/notifications/")).status_code == 401
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM notifications WHERE account_id = $1", lin.id) == 0
    await connection.close()
