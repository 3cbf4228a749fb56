"""Preferences: what is refused and changes nothing, and what a change moves, all of it or none."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.conftest import RunApi
from tests.factories import Person
from todo_core.reminders.service import ReminderService

PREFERENCES = "/users/me/preferences"


def in_days(days: int) -> datetime:
    """Noon, that many days from now."""
    return (datetime.now(UTC) + timedelta(days=days)).replace(hour=12, minute=0, second=0, microsecond=0)


async def reminds(person: Person, todo: dict[str, Any]) -> list[tuple[str, datetime]]:
    """State and time of each of the todo's reminders."""
    items = (await person.get(f"/todos/{todo['id']}/reminders")).json()["items"]
    return [(item["state"], datetime.fromisoformat(item["remind_at"])) for item in items]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"default_reminders": None}, "default_reminders"),
        ({"default_reminders": "PT5M"}, "default_reminders"),
        ({"default_reminders": [5]}, "default_reminders.0"),
        ({"default_reminders": ["PT5M", None]}, "default_reminders.1"),
        ({"default_reminders": ["-PT5M"]}, "default_reminders.0"),
        ({"default_reminders": ["P"]}, "default_reminders.0"),
        ({"default_reminders": ["PT60M", "PT1H"]}, "default_reminders"),
        ({"default_reminders": [f"PT{n}M" for n in range(11)]}, "default_reminders"),
        ({"default_reminders": ["P1DT"]}, "default_reminders.0"),
        ({"default_reminders": ["P1M"]}, "default_reminders.0"),
        ({"default_reminders": ["P367D"]}, "default_reminders.0"),
        ({"channels": None}, "channels"),
        ({"channels": ["inbox"]}, "channels"),
        ({"channels": {"inbox": None}}, "channels.inbox"),
        ({"channels": {"pigeon": True}}, "channels.pigeon"),
        ({"channels": {"webhook": 1}}, "channels.webhook"),
        ({"quiet_hours": "22:00-07:00"}, "quiet_hours"),
        ({"quiet_hours": {}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end"),
        ({"quiet_hours": {"start": "07:00", "end": "07:00"}}, "quiet_hours"),
        ({"quiet_hours": {"start": None, "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "22:00", "end": "7:00"}}, "quiet_hours.end"),
        ({"quiet_hours": {"start": "24:00", "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "22:00:30", "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "２２:00", "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "22:00", "end": "07:00", "days": []}}, "quiet_hours.days"),
        ({"timezone": ""}, "timezone"),
        ({"timezone": None}, "timezone"),
        ({"timezone": 8}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"email_verified": True}, "email_verified"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_what_makes_no_sense_is_refused_by_name_in_the_readers_language(
    lin: Person, body: dict[str, Any], field: str, language: str
) -> None:
    answer = await lin.patch(PREFERENCES, json=body, headers={"Accept-Language": language})
    document = answer.json()
    assert (answer.status_code, document["code"]) == (422, "validation_failed")
    assert answer.headers["content-type"] == "application/problem+json"
    (fault,) = (fault for fault in document["errors"] if fault["field"] == field)
    assert fault["detail"].isascii() == (language == "en")


async def test_one_part_that_is_refused_leaves_the_others_as_they_were(lin: Person) -> None:
    todo = await lin.add_todo(due_at=in_days(3).isoformat())
    before = (await lin.get(PREFERENCES)).json(), await reminds(lin, todo)
    answer = await lin.patch(PREFERENCES, json={"default_reminders": ["PT1H"], "channels": {"inbox": "no"}})
    assert answer.status_code == 422
    assert ((await lin.get(PREFERENCES)).json(), await reminds(lin, todo)) == before


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed_body"),
        ({"json": []}, 422, "validation_failed"),
        ({"content": b""}, 422, "validation_failed"),
        ({"data": {"timezone": "UTC"}}, 415, "unsupported_media_type"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(
    lin: Person, options: dict[str, Any], status: int, code: str
) -> None:
    answer = await lin.patch(PREFERENCES, **options)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_preferences_are_their_owners_alone_and_end_with_the_account(
    run_api: RunApi, lin: Person, wang: Person
) -> None:
    await wang.patch(PREFERENCES, json={"channels": {"inbox": False}})
    assert (await lin.get(PREFERENCES)).json()["channels"]["inbox"] is True
    for method, body in (("GET", None), ("PATCH", {"timezone": "UTC"}), ("PATCH", {})):
        nobody = await lin.http.request(method, PREFERENCES, json=body)
        assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthenticated")
    assert (await wang.request("DELETE", "/users/me", json={"password": wang.password})).status_code == 204
    for method, body in (("GET", None), ("PATCH", {"timezone": "UTC"}), ("PATCH", {})):
        assert (await wang.request(method, PREFERENCES, json=body)).status_code == 401


async def test_a_duration_comes_back_in_its_one_spelling(lin: Person) -> None:
    changed = await lin.patch(PREFERENCES, json={"default_reminders": ["PT90M", "P2W", "PT0H"]})
    assert changed.json()["default_reminders"] == ["PT1H30M", "P14D", "PT0S"]
    assert (await lin.get(PREFERENCES)).json() == changed.json()


async def test_without_defaults_a_todo_is_silent_until_there_are_some_again(lin: Person) -> None:
    due = in_days(3)
    todo = await lin.add_todo(due_at=due.isoformat())
    await lin.patch(PREFERENCES, json={"default_reminders": []})
    assert [state for state, _ in await reminds(lin, todo) if state == "scheduled"] == []
    assert await reminds(lin, await lin.add_todo(due_at=due.isoformat())) == []
    await lin.patch(PREFERENCES, json={"default_reminders": ["PT10M"]})
    assert [at for state, at in await reminds(lin, todo) if state == "scheduled"] == [due - timedelta(minutes=10)]


async def test_a_default_whose_time_has_gone_by_is_skipped_and_the_others_come(lin: Person) -> None:
    due = in_days(2)
    todo = await lin.add_todo(due_at=due.isoformat())
    await lin.patch(PREFERENCES, json={"default_reminders": ["P30D", "PT1H"]})
    assert await reminds(lin, todo) == [
        ("skipped", due - timedelta(days=30)),
        ("scheduled", due - timedelta(hours=1)),
    ]


async def test_what_is_done_is_not_planned_again_by_a_change(lin: Person) -> None:
    todo = await lin.add_todo(due_at=in_days(3).isoformat())
    await lin.post(f"/todos/{todo['id']}/complete")
    await lin.patch(PREFERENCES, json={"default_reminders": ["PT1H"], "timezone": "Asia/Tokyo"})
    assert [state for state, _ in await reminds(lin, todo) if state == "scheduled"] == []


@pytest.mark.parametrize("route", ["/users/me", PREFERENCES])
async def test_a_new_time_zone_moves_reminders_whichever_way_it_is_set(lin: Person, route: str) -> None:
    due = in_days(3)
    todo = await lin.add_todo(due_at=due.isoformat())
    await lin.patch(PREFERENCES, json={"quiet_hours": {"start": "11:00", "end": "13:00"}, "timezone": "UTC"})
    assert await reminds(lin, todo) == [("scheduled", due + timedelta(hours=1))]
    await lin.patch(route, json={"timezone": "Asia/Tokyo"})
    assert await reminds(lin, todo) == [("scheduled", due)]


async def test_the_channels_are_asked_only_when_a_reminder_is_due(lin: Person) -> None:
    todo = await lin.add_todo(due_at=in_days(3).isoformat())
    before = await reminds(lin, todo)
    await lin.patch(PREFERENCES, json={"channels": {"inbox": False, "email": False, "webhook": False}})
    assert await reminds(lin, todo) == before


async def test_changes_at_the_same_time_are_all_kept(lin: Person) -> None:
    changes: list[dict[str, Any]] = [
        {"default_reminders": ["PT5M"]},
        {"channels": {"inbox": False}},
        {"channels": {"email": False}},
        {"channels": {"webhook": False}},
        {"quiet_hours": {"start": "22:00", "end": "07:00"}},
        {"timezone": "Asia/Shanghai"},
    ]
    answers = await asyncio.gather(*(lin.patch(PREFERENCES, json=change) for change in changes))
    assert [answer.status_code for answer in answers] == [200] * len(changes)
    assert (await lin.get(PREFERENCES)).json() == {
        "default_reminders": ["PT5M"],
        "channels": {"inbox": False, "email": False, "webhook": False},
        "quiet_hours": {"start": "22:00", "end": "07:00"},
        "timezone": "Asia/Shanghai",
        "email_verified": False,
    }


async def waiting_for_a_lock(sql: asyncpg.Connection) -> None:
    """Return once a statement of this database waits for a lock."""
    async with asyncio.timeout(5):
        while not await sql.fetchval(  # noqa: ASYNC110 - PostgreSQL has no event for it
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)


async def test_a_todo_added_while_the_preferences_change_is_planned_by_the_new_ones(
    lin: Person, database_url: str
) -> None:
    """Who waits for the account's lock must not go by what was there before: all others have moved already."""
    due = in_days(3)
    todo = await lin.add_todo()
    sql, other = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute("UPDATE accounts SET change_seq = change_seq + 1 WHERE id = $1", lin.id)
    await sql.execute("INSERT INTO preferences (account_id, default_reminders) VALUES ($1, '{PT1H}')", lin.id)
    async with asyncio.TaskGroup() as group:
        added = group.create_task(lin.add_todo(due_at=due.isoformat()))
        moved = group.create_task(lin.patch(f"/todos/{todo['id']}", json={"due_at": due.isoformat()}))
        await waiting_for_a_lock(other)
        await transaction.commit()
    for each in (added.result(), moved.result().json()):
        assert await reminds(lin, each) == [("scheduled", due - timedelta(hours=1))]
    await sql.close()
    await other.close()


async def test_a_change_and_the_moves_that_it_brings_are_one_transaction(
    run_api: RunApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await run_api()
    lin = await api.person()
    todo = await lin.add_todo(due_at=in_days(3).isoformat())
    before = (await lin.get(PREFERENCES)).json(), await reminds(lin, todo), (await lin.get("/users/me")).json()
    replan = ReminderService.replan_account

    async def replan_and_fail(*arguments: Any, **options: Any) -> None:
        await replan(*arguments, **options)
        raise RuntimeError("after all is written")

    with monkeypatch.context() as broken:
        broken.setattr(ReminderService, "replan_account", replan_and_fail)
        change = {"default_reminders": ["PT1H"], "channels": {"inbox": False}, "timezone": "Asia/Tokyo"}
        assert (await lin.patch(PREFERENCES, json=change)).status_code == 500
        assert (await lin.patch("/users/me", json={"timezone": "Asia/Tokyo"})).status_code == 500
    after = (await lin.get(PREFERENCES)).json(), await reminds(lin, todo), (await lin.get("/users/me")).json()
    assert after == before


async def test_nobody_elses_reminders_move(lin: Person, wang: Person) -> None:
    todo = await wang.add_todo(due_at=in_days(3).isoformat())
    before = await reminds(wang, todo)
    await lin.patch(PREFERENCES, json={"default_reminders": ["PT1H"], "timezone": "Asia/Tokyo"})
    assert await reminds(wang, todo) == before
