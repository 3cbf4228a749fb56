"""The inbox, preferences, webhooks and proofs of addresses, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.factories import Api, Person
from tests.streaming import tell

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
    """When the todo's reminders are due."""
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


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"default_reminders": ["soon"]}, "default_reminders.0"),
        ({"default_reminders": ["PT60M", "PT1H"]}, "default_reminders"),
        ({"default_reminders": [f"PT{n}M" for n in range(11)]}, "default_reminders"),
        ({"channels": {"inbox": "yes"}}, "channels.inbox"),
        ({"channels": {"pigeon": True}}, "channels.pigeon"),
        ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end"),
        ({"quiet_hours": {"start": "25:00", "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "07:00", "end": "07:00"}}, "quiet_hours"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": None}, "timezone"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_preferences_that_make_no_sense_are_refused_by_name(
    lin: Person, body: dict[str, Any], field: str
) -> None:
    answer = await lin.patch(PREFERENCES, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert (await lin.get(PREFERENCES)).json() == DEFAULTS


# ---- webhooks


async def test_a_webhook_shows_its_secret_once_and_can_be_changed_rotated_and_deleted(lin: Person) -> None:
    created = await lin.post("/webhooks/", json={"url": "https://example.com/hook"})
    hook = created.json()
    assert (created.status_code, created.headers["cache-control"]) == (201, "no-store")
    assert hook["secret"].startswith("whsec_")
    (listed,) = (await lin.get("/webhooks/")).json()["items"]
    assert listed == {name: value for name, value in hook.items() if name != "secret"}
    path = f"/webhooks/{hook['id']}"
    changed = (await lin.patch(path, json={"url": "https://example.com/other", "active": False})).json()
    assert (changed["url"], changed["active"]) == ("https://example.com/other", False)
    assert "secret" not in changed
    rotated = (await lin.post(f"{path}/rotate-secret")).json()
    assert rotated["secret"] != hook["secret"]
    assert datetime.fromisoformat(rotated["previous_secret_until"]) > datetime.now(UTC) + timedelta(hours=23)
    assert (await lin.delete(path)).status_code == 204
    assert (await lin.get("/webhooks/")).json()["items"] == []
    assert (await lin.delete(path)).status_code == 404


async def test_switching_a_webhook_on_again_forgets_its_failures(lin: Person, database_url: str) -> None:
    hook = (await lin.post("/webhooks/", json={"url": "https://example.com/hook"})).json()
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "UPDATE webhooks SET active = false, failing_since = now(), disabled_at = now() WHERE id = $1", hook["id"]
    )
    await connection.close()
    again = (await lin.patch(f"/webhooks/{hook['id']}", json={"active": True})).json()
    assert (again["active"], again["failing_since"], again["disabled_at"]) == (True, None, None)


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://example.com", "https://", "https://user:word@example.com/", "http://127.0.0.1/x",
     "http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest", "https://example.com/#part",
     "https://example.com/" + "x" * 2_000, 5, None],
)  # fmt: skip
async def test_an_address_that_is_no_public_web_address_is_refused(lin: Person, url: Any) -> None:
    answer = await lin.post("/webhooks/", json={"url": url})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "url"), url
    assert (await lin.get("/webhooks/")).json()["items"] == []


async def test_webhooks_are_few_and_their_owners_alone(lin: Person, wang: Person) -> None:
    hook = (await wang.post("/webhooks/", json={"url": "https://example.com/hook"})).json()
    for method, suffix, body in (
        ("PATCH", "", {"active": False}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", None),
    ):
        answer = await lin.request(method, f"/webhooks/{hook['id']}{suffix}", json=body)
        assert answer.status_code == 404
    for number in range(10):
        answer = await lin.post("/webhooks/", json={"url": f"https://example.com/{number}"})
        assert answer.status_code == 201
    assert (await lin.post("/webhooks/", json={"url": "https://example.com/11"})).status_code == 409


# ---- proving an address


async def link_token(api: Api, person: Person, database_url: str) -> str:
    """What the mail's link holds."""
    connection = await asyncpg.connect(database_url)
    verification = await connection.fetchval(
        "SELECT id FROM email_verifications WHERE account_id = $1 ORDER BY created_at DESC LIMIT 1", person.id
    )
    await connection.close()
    return api.process.links.verify_email(verification).partition("token=")[2]


async def test_an_address_is_proved_by_the_link_that_was_mailed_to_it(api: Api, lin: Person, database_url: str) -> None:
    asked = await lin.post("/users/me/verify-email")
    assert (asked.status_code, asked.json()) == (202, {"email": lin.email})
    again = await lin.post("/users/me/verify-email")
    assert (again.status_code, again.json()["code"]) == (429, "mailed_recently")
    assert 86_000 < int(again.headers["retry-after"]) <= 86_400
    token = await link_token(api, lin, database_url)
    page = await api.http.get("/verify-email", params={"token": token})
    assert page.status_code == 200
    assert "<form" in page.text
    assert (await lin.get("/users/me/")).json()["email_verified"] is False, "to look changes nothing"
    for _ in range(2):
        assert (await api.http.post("/users/verify-email", json={"token": token})).status_code == 204
    assert (await lin.get("/users/me/")).json()["email_verified"] is True
    assert (await lin.post("/users/me/verify-email")).json()["code"] == "already_verified"
    await lin.patch("/users/me/", json={"email": f"new-{lin.email}", "current_password": lin.password})
    assert (await lin.get("/users/me/")).json()["email_verified"] is False
    late = await api.http.post("/users/verify-email", json={"token": token})
    assert (late.status_code, late.json()["code"]) == (400, "invalid_link")


async def test_the_button_of_the_page_proves_the_address_too(api: Api, lin: Person, database_url: str) -> None:
    await lin.post("/users/me/verify-email")
    token = await link_token(api, lin, database_url)
    pressed = await api.http.post("/verify-email", params={"token": token}, headers={"Accept-Language": "zh"})
    assert (pressed.status_code, pressed.headers["content-language"]) == (200, "zh-CN")
    assert (await lin.get("/users/me/")).json()["email_verified"] is True


@pytest.mark.parametrize("path", ["/verify-email", "/unsubscribe"])
async def test_a_link_that_is_none_gets_a_page_that_says_so(api: Api, lin: Person, path: str) -> None:
    for token in ("", "nonsense", lin.tokens["access_token"]):
        for method in ("GET", "POST"):
            answer = await api.http.request(method, path, params={"token": token})
            assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")


async def test_one_click_ends_the_mails_without_a_sign_in(api: Api, lin: Person) -> None:
    token = api.process.links.unsubscribe(lin.id, lin.email).partition("token=")[2]
    assert "<form" in (await api.http.get("/unsubscribe", params={"token": token})).text
    assert (await lin.get(PREFERENCES)).json()["channels"]["email"] is True
    for _ in range(2):
        clicked = await api.http.post("/unsubscribe", params={"token": token}, data={"List-Unsubscribe": "One-Click"})
        assert clicked.status_code == 200
    assert (await lin.get(PREFERENCES)).json()["channels"]["email"] is False
    others = api.process.links.unsubscribe(lin.id, "else@example.com").partition("token=")[2]
    assert (await api.http.post("/unsubscribe", params={"token": others})).status_code == 200
