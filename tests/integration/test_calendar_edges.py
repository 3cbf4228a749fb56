"""Instants at the ends of the calendar: what is taken comes back as it was, whatever zone and settings are about."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest

from tests.conftest import in_thread, make_settings
from tests.factories import Api, Person, running_api
from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import Office
from todo_core.migrations import runner

PREFERENCES = "/users/me/preferences"
NEVER = "9999-12-31T23:59:59Z"
# What is sent, and what comes back. A hundred nanoseconds before the year 10000 is how .NET writes its largest time.
ENDS = {
    NEVER: NEVER,
    "9999-12-31T23:59:59.999Z": "9999-12-31T23:59:59.999000Z",
    "9999-12-31T23:59:59.9999999Z": "9999-12-31T23:59:59.999998Z",
    "9999-12-31T12:00:00Z": "9999-12-31T12:00:00Z",
    "9999-12-31T23:59:59+14:00": "9999-12-31T09:59:59Z",
    "9998-12-31T23:59:59Z": "9998-12-31T23:59:59Z",
    "1900-01-01T00:00:00Z": "1900-01-01T00:00:00Z",
    "1900-01-01T00:00:00-12:00": "1900-01-01T12:00:00Z",
}
# Between the clocks that are ahead the furthest and those that are behind.
ZONES = ["UTC", "Pacific/Kiritimati", "Asia/Shanghai", "America/New_York", "Etc/GMT+12"]
SETTINGS: list[dict[str, Any]] = [
    {"quiet_hours": {"start": "00:00", "end": "23:59"}},
    {"quiet_hours": {"start": "12:00", "end": "11:59"}, "default_reminders": ["PT0S", "P366D", "PT8784H", "P1DT1H"]},
    {"quiet_hours": {"start": "22:00", "end": "07:00"}, "default_reminders": ["P1D"]},
    {"quiet_hours": None},
]


def good(answer: httpx.Response) -> Any:
    """Check that a request was accepted, and return the body of its answer."""
    assert answer.status_code in {200, 201}, (answer.request.method, str(answer.request.url), answer.text)
    return answer.json()


async def look_around(person: Person, due: dict[str, str]) -> None:
    """Read everything by due time, each page by a cursor, and see every due time as it was written."""
    for sort in ("due_at", "-due_at"):
        items = await person.walk(sort=sort, limit=1)
        assert [item["id"] for item in items] == [item["id"] for item in await person.walk(sort=sort)]
        assert {item["id"]: item["due_at"] for item in items} == due
    for todo_id in due:
        for reminder in good(await person.get(f"/todos/{todo_id}/reminders"))["items"]:
            assert reminder["remind_at"].endswith("Z")


@pytest.mark.parametrize("zone", ZONES)
async def test_a_due_time_at_an_end_of_the_calendar_is_taken_and_harmless(api: Api, zone: str) -> None:
    person = await api.person(timezone=zone)
    due: dict[str, str] = {}
    for sent, kept in ENDS.items():
        due[(await person.add_todo(sent, due_at=sent))["id"]] = kept
    await look_around(person, due)
    first = f"/todos/{next(iter(due))}"
    for sent, kept in ENDS.items():
        assert good(await person.patch(first, json={"due_at": sent}))["due_at"] == kept
        assert good(await person.get(first))["due_at"] == kept
        assert (await person.list(sort="due_at", due_after=sent))["items"][0]["due_at"] == kept
        good(await person.get("/todos/", params={"due_before": sent, "sort": "-due_at"}))
    due[first.removeprefix("/todos/")] = kept
    for settings in SETTINGS:
        good(await person.patch(PREFERENCES, json=settings))
        for other in ZONES:
            good(await person.patch("/users/me", json={"timezone": other}))
            good(await person.patch(PREFERENCES, json={"timezone": zone}))
        await look_around(person, due)
    asked = {"reminders": [{"at": NEVER}, {"before": "P366D"}, {"before": "PT0S"}]}
    version = good(await person.patch(first, json=asked))["version"]
    assert good(await person.patch(first, json={"due_at": kept}))["version"] == version, "it was that already"
    assert good(await person.post(f"{first}/snooze", json={"until": NEVER}))["remind_at"] == NEVER
    good(await person.post(f"{first}/snooze", json={"for": "P366D"}))
    good(await person.post(f"{first}/complete"))
    good(await person.post(f"{first}/reopen"))
    await look_around(person, due)


@pytest.mark.parametrize(
    "text",
    ["0001-01-01T00:00:00Z", "0999-06-01T00:00:00Z", "1899-12-31T23:59:59.999999Z", "1900-01-01T00:00:00+00:01",
     "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:60Z"],
)  # fmt: skip
@pytest.mark.parametrize(("language", "rule"), [("en", "must lie between 1900-01-01"), ("zh", "必须在 1900-01-01")])
async def test_an_instant_beyond_the_range_is_refused_wherever_it_is_sent(
    lin: Person, text: str, language: str, rule: str
) -> None:
    todo = f"/todos/{(await lin.add_todo())['id']}"
    headers = {"Accept-Language": language}
    for field, answer in (
        ("due_at", await lin.post("/todos/", json={"title": "a", "due_at": text}, headers=headers)),
        ("due_at", await lin.patch(todo, json={"due_at": text}, headers=headers)),
        ("reminders.0.at", await lin.patch(todo, json={"reminders": [{"at": text}]}, headers=headers)),
        ("until", await lin.post(f"{todo}/snooze", json={"until": text}, headers=headers)),
        ("due_before", await lin.get("/todos/", params={"due_before": text}, headers=headers)),
        ("due_after", await lin.get("/todos/", params={"due_after": text}, headers=headers)),
    ):
        assert answer.status_code == 422, answer.text
        (fault,) = answer.json()["errors"]
        assert (fault["field"], fault["rule"]) == (field, "timestamp_range")
        assert fault["detail"].startswith(rule)


# What releases before 0006 took, or what a person with psql may have written.
STORED = {
    "infinity": "9999-12-31T23:59:59.999998Z",
    "10000-01-01 00:00:00+00": "9999-12-31T23:59:59.999998Z",
    "9999-12-31 23:59:59.999999+00": "9999-12-31T23:59:59.999998Z",
    "9999-12-31 23:59:59+00": NEVER,
    "1066-10-14 12:00:00+00": "1066-10-14T12:00:00Z",
    "0044-03-15 00:00:00+00": "0044-03-15T00:00:00Z",
    "0001-01-01 00:00:01+00": "0001-01-01T00:00:01Z",
    "0001-01-01 00:00:00+00": "0001-01-01T00:00:00.000001Z",
    "4000-01-01 00:00:00+00 BC": "0001-01-01T00:00:00.000001Z",
    "-infinity": "0001-01-01T00:00:00.000001Z",
}


async def test_what_was_stored_before_there_was_a_range_is_harmless(empty_database: str, redis_url: str) -> None:
    settings = make_settings(empty_database, redis_url)
    await in_thread(runner.upgrade, settings)
    async with running_api(settings) as api:
        person = await api.person()
        todos = [await person.add_todo(text, due_at="2026-12-01T09:00:00Z") for text in STORED]
    await in_thread(runner.downgrade, settings, "0005")
    sql = await asyncpg.connect(empty_database)
    for todo, text in zip(todos, STORED, strict=True):
        for statement in (
            "UPDATE todos SET due_at = $2::text::timestamptz WHERE id = $1",
            "UPDATE reminders SET remind_at = $2::text::timestamptz WHERE todo_id = $1",
            "INSERT INTO reminders (id, account_id, todo_id, at, remind_at, state) SELECT gen_random_uuid(), owner_id,"
            " id, due_at, due_at, CASE WHEN due_at > now() THEN 'scheduled' ELSE 'skipped' END"
            " FROM todos WHERE id = $1 AND due_at = $2::text::timestamptz",
            "INSERT INTO notifications (id, account_id, seq, kind, title, due_at) SELECT id, owner_id,"
            " (SELECT count(*) FROM notifications), 'reminder', title, due_at"
            " FROM todos WHERE id = $1 AND due_at = $2::text::timestamptz",
        ):
            await sql.execute(statement, todo["id"], text)
    await in_thread(runner.upgrade, settings)
    async with running_api(settings) as api:
        person = api.as_seen_here(person)
        due = {todo["id"]: kept for todo, kept in zip(todos, STORED.values(), strict=True)}
        await look_around(person, due)
        for settings_of_theirs in SETTINGS:
            good(await person.patch(PREFERENCES, json=settings_of_theirs))
            for zone in ZONES:
                good(await person.patch(PREFERENCES, json={"timezone": "UTC"}))
                good(await person.patch("/users/me", json={"timezone": zone}))
        for todo_id in due:
            for body in ({"title": "a"}, {"completed": True}, {"completed": False}, {"reminders": [{"before": "P1D"}]}):
                good(await person.patch(f"/todos/{todo_id}", json=body))
        await look_around(person, due)
        told = good(await person.get("/notifications/", params={"limit": 100}))["items"]
        assert [item["due_at"] for item in told][::-1] == list(STORED.values())
    await sql.close()


@pytest.mark.parametrize(("zone", "shown"), [
    ("UTC", "Friday, 31 December 9999, 23:59 (UTC)"),
    ("Asia/Shanghai", "Friday, 31 December 9999, 23:59 (UTC)"),
])  # fmt: skip
async def test_a_reminder_of_a_todo_that_is_never_due_arrives_by_every_channel(
    office: Office, http: HttpReceiver, smtp: SmtpReceiver, zone: str, shown: str
) -> None:
    lin = await office.account(verified=True, timezone=zone)
    await office.webhook(lin, f"{http.url}/hook")
    await office.remind(lin)
    await office.sql.execute("UPDATE todos SET due_at = '9999-12-31 23:59:59+00'")
    await office.start()
    await office.settled(3)
    assert await office.states() == {"sent": 3}
    (mail,) = smtp.mails()
    body = mail.get_body(("plain",))
    assert body is not None
    assert shown in body.get_content()
    assert NEVER.encode() in http.ledger[0].body
