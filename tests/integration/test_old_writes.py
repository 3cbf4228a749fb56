"""A release that knows of no reminders still writes while an upgrade replaces it: what it wrote is put right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.conftest import in_thread, make_settings
from tests.factories import Person
from todo_core.admin import main
from todo_core.database import Database
from todo_core.ids import new_id
from todo_core.reminders.old_writes import OldWrites

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
LATER = SOON + timedelta(hours=5)


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(make_settings(database_url).database)
    await OldWrites(database).mend()  # what other tests left
    yield database
    await database.close()


@pytest.fixture
def _admins_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


async def old_todo(sql: asyncpg.Connection, owner: Person, due_at: datetime | None) -> str:
    """A todo as the release before reminders inserts it."""
    todo_id = str(new_id())
    await sql.execute(
        "INSERT INTO todos (id, owner_id, title, due_at, created_at, updated_at)"
        " VALUES ($1, $2, 'Buy milk', $3, now(), now())",
        todo_id,
        owner.id,
        due_at,
    )
    return todo_id


async def move(sql: asyncpg.Connection, todo_id: str, due_at: datetime | None, *, completed: bool = False) -> None:
    """What the release before reminders does to a todo."""
    await sql.execute(
        "UPDATE todos SET due_at = $2, completed_at = CASE WHEN $3 THEN now() END, updated_at = now() WHERE id = $1",
        todo_id,
        due_at,
        completed,
    )


async def reminders(person: Person, todo_id: str) -> list[tuple[str, datetime | None]]:
    """State and time of each."""
    items = (await person.get(f"/todos/{todo_id}/reminders")).json()["items"]
    return [(item["state"], datetime.fromisoformat(item["remind_at"]) if item["remind_at"] else None) for item in items]


async def test_a_todo_that_the_old_release_inserted_gets_the_accounts_reminders(
    lin: Person, wang: Person, sql: asyncpg.Connection, database: Database
) -> None:
    answer = await wang.patch("/users/me/preferences", json={"default_reminders": ["PT1H", "PT0S"]})
    assert answer.status_code == 200, answer.text
    ordinary, other = await old_todo(sql, lin, SOON), await old_todo(sql, wang, SOON)
    undated, overdue = await old_todo(sql, lin, None), await old_todo(sql, lin, SOON - timedelta(days=2))
    assert await OldWrites(database).mend() == 2
    assert await reminders(lin, ordinary) == [("scheduled", SOON)]
    assert await reminders(wang, other) == [("scheduled", SOON - timedelta(hours=1)), ("scheduled", SOON)]
    assert await reminders(lin, undated) == await reminders(lin, overdue) == []
    assert await OldWrites(database).mend() == 0, "what is in order is not touched again"


async def test_a_todo_that_the_old_release_moved_completed_or_reopened_takes_its_reminder_along(
    lin: Person, sql: asyncpg.Connection, database: Database
) -> None:
    moved, done, undated, reopened = [(await lin.add_todo(due_at=SOON.isoformat()))["id"] for _ in range(4)]
    await lin.post(f"/todos/{reopened}/complete")
    await move(sql, moved, LATER)
    await move(sql, done, SOON, completed=True)
    await move(sql, undated, None)
    await move(sql, reopened, SOON)
    assert await OldWrites(database).mend() == 4
    assert await reminders(lin, moved) == [("scheduled", LATER)]
    assert await reminders(lin, done) == [("cancelled", SOON)]
    assert await reminders(lin, undated) == [("cancelled", None)]
    assert await reminders(lin, reopened) == [("scheduled", SOON)]
    assert await OldWrites(database).mend() == 0


async def test_a_todo_without_reminders_by_its_owners_wish_is_left_alone(lin: Person, database: Database) -> None:
    await lin.add_todo(due_at=SOON.isoformat(), reminders=[])
    await lin.patch("/users/me/preferences", json={"default_reminders": []})
    await lin.add_todo(due_at=SOON.isoformat())
    assert await OldWrites(database).mend() == 0


async def test_quiet_hours_and_snoozes_are_no_reason_to_touch_a_todo(lin: Person, database: Database) -> None:
    quiet = {"quiet_hours": {"start": "00:00", "end": "23:59"}}
    answer = await lin.patch("/users/me/preferences", json=quiet)
    assert answer.status_code == 200, answer.text
    todo = await lin.add_todo(due_at=SOON.isoformat())
    answer = await lin.post(f"/todos/{todo['id']}/snooze", json={"for": "PT10M"})
    assert answer.status_code < 300, answer.text
    assert await OldWrites(database).mend() == 0


@pytest.mark.usefixtures("_admins_database")
async def test_the_regular_look_sees_what_is_recent_and_the_operators_sees_everything(
    lin: Person,
    sql: asyncpg.Connection,
    database: Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    todo_id = await old_todo(sql, lin, SOON)
    await sql.execute("UPDATE todos SET updated_at = now() - interval '3 days' WHERE id = $1", todo_id)
    assert await OldWrites(database).mend() == 0
    assert await in_thread(main, ["reminders", "mend"]) == 0
    assert capsys.readouterr().out.endswith("todos had reminders that did not fit.\n")
    assert await reminders(lin, todo_id) == [("scheduled", SOON)]


async def test_a_todo_from_before_reminders_gets_one_when_it_gets_a_due_time(
    lin: Person, sql: asyncpg.Connection
) -> None:
    todo_id = await old_todo(sql, lin, None)
    assert (await lin.patch(f"/todos/{todo_id}", json={"due_at": SOON.isoformat()})).status_code == 200
    assert await reminders(lin, todo_id) == [("scheduled", SOON)]


async def test_a_todo_from_before_reminders_gets_one_when_it_is_reopened(lin: Person, sql: asyncpg.Connection) -> None:
    todo_id = await old_todo(sql, lin, SOON)
    await move(sql, todo_id, SOON, completed=True)
    assert (await lin.post(f"/todos/{todo_id}/reopen")).status_code == 200
    assert await reminders(lin, todo_id) == [("scheduled", SOON)]
