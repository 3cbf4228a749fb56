"""Reminders over HTTP: which a todo has, and what becomes of them when it changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.factories import Person

Shown = list[tuple[str | None, str]]


def ahead(**delta: float) -> datetime:
    """An instant in the future, to the second."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**delta)


def written(moment: datetime) -> str:
    """As the API writes it."""
    return moment.isoformat().replace("+00:00", "Z")


async def reminders(person: Person, todo: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the reminders in the answer of GET."""
    answer = await person.get(f"/todos/{todo['id']}/reminders")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def shown(person: Person, todo: dict[str, Any]) -> Shown:
    """Return each reminder's instant and state."""
    return [(item["remind_at"], item["state"]) for item in await reminders(person, todo)]


async def change(person: Person, todo: dict[str, Any], **fields: Any) -> None:
    """PATCH that must succeed."""
    answer = await person.patch(f"/todos/{todo['id']}", json=fields)
    assert answer.status_code == 200, answer.text


async def test_a_todo_with_a_due_time_is_reminded_of_then(lin: Person) -> None:
    due = ahead(hours=2)
    (reminder,) = await reminders(lin, await lin.add_todo(due_at=written(due)))
    assert reminder["before"] == "PT0S"
    assert (reminder["remind_at"], reminder["state"], reminder["deliveries"]) == (written(due), "scheduled", [])


async def test_a_todo_without_a_due_time_gets_its_reminder_once_it_has_one(lin: Person) -> None:
    todo = await lin.add_todo()
    assert await shown(lin, todo) == [(None, "cancelled")]
    due = ahead(hours=2)
    await change(lin, todo, due_at=written(due))
    assert await shown(lin, todo) == [(written(due), "scheduled")]
    await change(lin, todo, due_at=None)
    assert await shown(lin, todo) == [(None, "cancelled")]


async def test_up_to_ten_reminders_before_the_due_time_or_at_instants_of_their_own(lin: Person) -> None:
    due = ahead(days=3)
    todo = await lin.add_todo(
        due_at=written(due), reminders=[{"before": "PT30M"}, {"at": written(ahead(hours=1))}, {"before": "P1D"}]
    )
    assert [state for _, state in await shown(lin, todo)] == ["scheduled"] * 3
    assert [item["before"] for item in await reminders(lin, todo)] == [None, "P1D", "PT30M"]
    assert (await reminders(lin, todo))[2]["remind_at"] == written(due - timedelta(minutes=30))
    ten = [{"before": f"PT{minutes}M"} for minutes in range(10)]
    assert len(await reminders(lin, await lin.add_todo(due_at=written(due), reminders=ten))) == 10


async def test_no_reminders_means_none(lin: Person) -> None:
    assert await shown(lin, await lin.add_todo(due_at=written(ahead(hours=1)), reminders=[])) == []


async def test_reminders_set_by_hand_are_replaced_and_given_back_to_the_defaults(lin: Person) -> None:
    due = ahead(hours=5)
    todo = await lin.add_todo(due_at=written(due), reminders=[{"before": "PT1H"}])
    kept = (await reminders(lin, todo))[0]["id"]
    await change(lin, todo, reminders=[{"before": "PT2H"}, {"before": "PT1H"}])
    assert await shown(lin, todo) == [
        (written(due - timedelta(hours=2)), "scheduled"),
        (written(due - timedelta(hours=1)), "scheduled"),
    ]
    assert (await reminders(lin, todo))[1]["id"] == kept, "what stays as asked for is not made anew"
    await change(lin, todo, reminders=None)
    assert await shown(lin, todo) == [(written(due), "scheduled")]


@pytest.mark.parametrize(
    ("given", "field", "rule"),
    [
        ([{"before": "30 minutes"}], "reminders.0.before", "duration"),
        ([{"before": "P1M"}], "reminders.0.before", "duration"),
        ([{"before": "-PT5M"}], "reminders.0.before", "duration"),
        ([{"before": "P367D"}], "reminders.0.before", "duration"),
        ([{"before": 30}], "reminders.0.before", "duration"),
        ([{"at": "2999-12-01T09:00:00"}], "reminders.0.at", "timestamp_offset"),
        ([{"at": "2020-12-01T09:00:00Z"}], "reminders.0.at", "past"),
        ([{"before": "PT5M"}, {"at": "2020-12-01T09:00:00Z"}], "reminders.1.at", "past"),
        ([{}], "reminders.0", "before_or_at"),
        ([{"before": "PT1H", "at": "2999-12-01T09:00:00Z"}], "reminders.0", "before_or_at"),
        ([{"before": None}], "reminders.0.before", "null"),
        ([{"after": "PT1H"}], "reminders.0.after", "unknown_field"),
        ([{"before": "PT60M"}, {"before": "PT1H"}], "reminders", "repeated"),
        ([{"before": f"PT{n}M"} for n in range(11)], "reminders", "too_many"),
        ("PT1H", "reminders", "list"),
    ],
)
async def test_a_reminder_that_makes_no_sense_is_refused_by_name_and_changes_nothing(
    lin: Person, given: Any, field: str, rule: str
) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=1)))
    before = await reminders(lin, todo)
    for answer in (
        await lin.post("/todos/", json={"title": "a", "reminders": given}),
        await lin.patch(f"/todos/{todo['id']}", json={"title": "b", "reminders": given}),
    ):
        assert answer.status_code == 422
        assert (field, rule) in [(error["field"], error["rule"]) for error in answer.json()["errors"]]
    assert await reminders(lin, todo) == before
    assert [item["title"] for item in (await lin.list())["items"]] == ["Buy milk"]


async def test_a_reminder_whose_time_has_gone_when_it_is_set_is_skipped(lin: Person) -> None:
    due = ahead(minutes=10)
    todo = await lin.add_todo(due_at=written(due), reminders=[{"before": "PT30M"}, {"before": "PT5M"}])
    assert [state for _, state in await shown(lin, todo)] == ["skipped", "scheduled"]
    overdue = await lin.add_todo(due_at=written(ahead(minutes=-1)))
    assert [state for _, state in await shown(lin, overdue)] == ["skipped"]


async def test_moving_the_due_time_moves_the_reminders_and_wakes_those_that_were_skipped(lin: Person) -> None:
    todo = await lin.add_todo(due_at=written(ahead(minutes=10)), reminders=[{"before": "PT30M"}, {"before": "PT5M"}])
    due = ahead(days=1)
    await change(lin, todo, due_at=written(due))
    assert await shown(lin, todo) == [
        (written(due - timedelta(minutes=30)), "scheduled"),
        (written(due - timedelta(minutes=5)), "scheduled"),
    ]
    await change(lin, todo, due_at=written(ahead(hours=-1)))
    assert [state for _, state in await shown(lin, todo)] == ["skipped", "skipped"]


async def test_an_instant_of_its_own_stays_when_the_due_time_moves(lin: Person) -> None:
    instant = ahead(hours=3)
    todo = await lin.add_todo(due_at=written(ahead(hours=5)), reminders=[{"at": written(instant)}])
    await change(lin, todo, due_at=written(ahead(days=5)))
    assert await shown(lin, todo) == [(written(instant), "scheduled")]


async def test_completing_cancels_and_reopening_restores_what_is_still_ahead(lin: Person) -> None:
    due = ahead(hours=2)
    todo = await lin.add_todo(due_at=written(due), reminders=[{"before": "PT0S"}, {"before": "PT6H"}])
    await lin.post(f"/todos/{todo['id']}/complete")
    assert [state for _, state in await shown(lin, todo)] == ["skipped", "cancelled"]
    await lin.post(f"/todos/{todo['id']}/reopen")
    assert [state for _, state in await shown(lin, todo)] == ["skipped", "scheduled"]


async def test_a_todo_that_is_born_done_is_not_reminded_of(lin: Person) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=2)), completed=True)
    assert [state for _, state in await shown(lin, todo)] == ["cancelled"]


async def test_deleting_a_todo_deletes_its_reminders(lin: Person, database_url: str) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=2)))
    await lin.delete(f"/todos/{todo['id']}")
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM reminders WHERE todo_id = $1", todo["id"]) == 0
    await connection.close()


async def test_snoozing_adds_one_reminder_at_an_instant_or_after_a_while(lin: Person) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=2)))
    until = ahead(hours=7)
    snoozed = await lin.post(f"/todos/{todo['id']}/snooze", json={"until": written(until)})
    assert (snoozed.status_code, snoozed.json()["at"], snoozed.json()["state"]) == (201, written(until), "scheduled")
    later = await lin.post(f"/todos/{todo['id']}/snooze", json={"for": "PT15M"})
    assert abs(datetime.fromisoformat(later.json()["remind_at"]) - ahead(minutes=15)) < timedelta(seconds=30)
    assert len(await reminders(lin, todo)) == 3


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({}, "body", "until_or_for"),
        ({"until": "2999-01-01T00:00:00Z", "for": "PT1H"}, "body", "until_or_for"),
        ({"until": "2020-01-01T00:00:00Z"}, "until", "past"),
        ({"for": "PT0S"}, "until", "past"),
        ({"for": "soon"}, "for", "duration"),
        ({"until": "2999-01-01T00:00:00"}, "until", "timestamp_offset"),
    ],
)
async def test_a_snooze_that_makes_no_sense_is_refused(lin: Person, body: Any, field: str, rule: str) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=2)))
    answer = await lin.post(f"/todos/{todo['id']}/snooze", json=body)
    assert answer.status_code == 422
    assert [(error["field"], error["rule"]) for error in answer.json()["errors"]] == [(field, rule)]
    assert len(await reminders(lin, todo)) == 1


async def test_a_done_todo_cannot_be_snoozed(lin: Person) -> None:
    todo = await lin.add_todo(completed=True)
    answer = await lin.post(f"/todos/{todo['id']}/snooze", json={"for": "PT1H"})
    assert (answer.status_code, answer.json()["errors"][0]["rule"]) == (422, "snooze_done")


async def test_somebody_elses_reminders_do_not_exist(lin: Person, wang: Person) -> None:
    todo = await wang.add_todo(due_at=written(ahead(hours=2)))
    assert (await lin.get(f"/todos/{todo['id']}/reminders")).status_code == 404
    assert (await lin.post(f"/todos/{todo['id']}/snooze", json={"for": "PT1H"})).status_code == 404


async def test_changing_only_the_title_touches_no_reminder(lin: Person) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=2)))
    before = await reminders(lin, todo)
    await change(lin, todo, title="other")
    assert await reminders(lin, todo) == before


async def claim(database_url: str, todo: dict[str, Any], delivery_state: str) -> None:
    """Set the rows as a worker would: the reminder is claimed, and its one delivery has this state."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "UPDATE reminders SET state = 'claimed', claimed_at = now() WHERE todo_id = $1 AND state = 'scheduled'",
        todo["id"],
    )
    await connection.execute(
        "INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at, state, settled_at)"
        " SELECT gen_random_uuid(), id, occurrence, 'inbox', account_id, remind_at, $2, now()"
        " FROM reminders WHERE todo_id = $1",
        todo["id"],
        delivery_state,
    )
    await connection.close()


async def deliveries(person: Person, todo: dict[str, Any]) -> list[str]:
    """The states of all deliveries of a todo with one reminder."""
    return [delivery["state"] for delivery in (await reminders(person, todo))[0]["deliveries"]]


@pytest.mark.parametrize(
    ("delivery", "state"), [("pending", "claimed"), ("sent", "sent"), ("dead", "failed"), ("cancelled", "claimed")]
)
async def test_a_reminder_is_sent_once_a_channel_has_delivered_and_failed_once_all_gave_up(
    lin: Person, database_url: str, delivery: str, state: str
) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=1)))
    await claim(database_url, todo, delivery)
    assert [reminder["state"] for reminder in await reminders(lin, todo)] == [state]


async def test_a_todo_that_is_moved_on_after_its_reminder_went_out_is_reminded_of_again(
    lin: Person, database_url: str
) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=1)))
    await claim(database_url, todo, "sent")
    due = ahead(hours=9)
    await change(lin, todo, due_at=written(due))
    assert await shown(lin, todo) == [(written(due), "scheduled")]
    await claim(database_url, todo, "pending")
    assert await deliveries(lin, todo) == ["sent", "pending"], "another occurrence, with a delivery of its own"


async def test_what_is_still_to_be_sent_is_cancelled_when_the_todo_is_done_or_moved(
    lin: Person, database_url: str
) -> None:
    done = await lin.add_todo(due_at=written(ahead(hours=1)))
    moved = await lin.add_todo(due_at=written(ahead(hours=1)))
    for todo in (done, moved):
        await claim(database_url, todo, "pending")
    await lin.post(f"/todos/{done['id']}/complete")
    await change(lin, moved, due_at=written(ahead(hours=9)))
    assert (await shown(lin, done))[0][1] == "cancelled"
    assert await deliveries(lin, done) == await deliveries(lin, moved) == ["cancelled"]


async def test_a_reminder_that_went_out_stays_sent_when_its_todo_is_done_and_reopened(
    lin: Person, database_url: str
) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=1)))
    await claim(database_url, todo, "sent")
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE todos SET due_at = now() - interval '1 minute' WHERE id = $1", todo["id"])
    await connection.execute(
        "UPDATE reminders SET remind_at = now() - interval '1 minute' WHERE todo_id = $1", todo["id"]
    )
    await connection.close()
    for verb in ("complete", "reopen"):
        await lin.post(f"/todos/{todo['id']}/{verb}")
        assert (await shown(lin, todo))[0][1] == "sent"


async def test_a_reminder_that_waits_for_the_end_of_quiet_hours_survives_completing_and_reopening(
    lin: Person, database_url: str
) -> None:
    todo = await lin.add_todo(due_at=written(ahead(hours=1)))
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO preferences (account_id, quiet_start, quiet_end)"
        " VALUES ($1, (now() - interval '3 hours')::time, (now() + interval '3 hours')::time)",
        lin.id,
    )
    await change(lin, todo, due_at=written(ahead(seconds=2)))
    ((remind_at, state),) = await shown(lin, todo)
    assert state == "scheduled"
    # Its own time passes.
    await connection.execute("UPDATE todos SET due_at = now() - interval '1 minute' WHERE id = $1", todo["id"])
    await connection.close()
    for verb, expected in (("complete", "cancelled"), ("reopen", "scheduled")):
        await lin.post(f"/todos/{todo['id']}/{verb}")
        assert await shown(lin, todo) == [(remind_at, expected)]


@pytest.mark.parametrize("change_to", ["dated", "reopened"])
async def test_a_todo_from_before_reminders_gets_one_when_it_gets_a_due_time_or_is_reopened(
    lin: Person, database_url: str, change_to: str
) -> None:
    todo = await lin.add_todo()
    soon = ahead(days=1)
    connection = await asyncpg.connect(database_url)
    await connection.execute("DELETE FROM reminders WHERE todo_id = $1", todo["id"])
    if change_to == "reopened":
        await connection.execute("UPDATE todos SET due_at = $2, completed_at = now() WHERE id = $1", todo["id"], soon)
        await lin.post(f"/todos/{todo['id']}/reopen")
    else:
        await change(lin, todo, due_at=written(soon))
    await connection.close()
    assert await shown(lin, todo) == [(written(soon), "scheduled")]
