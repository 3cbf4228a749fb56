"""`todo-admin reminders`: what was given up can be seen and sent again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.conftest import in_thread
from tests.factories import Person
from todo_core.admin.commands import main
from todo_core.settings import DatabaseSettings


@pytest.fixture
def _admins_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert DatabaseSettings().url.get_secret_value() == database_url


async def dead_delivery(person: Person, database_url: str) -> str:
    """A delivery that was given up two days ago."""
    todo = await person.add_todo(due_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    connection = await asyncpg.connect(database_url)
    delivery_id = await connection.fetchval(
        "INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at, state, attempts,"
        " created_at, settled_at, last_error)"
        " SELECT gen_random_uuid(), id, 1, 'webhook', account_id, now() - interval '3 days', 'dead', 30,"
        " now() - interval '3 days', now() - interval '2 days', 'the receiver said 500'"
        " FROM reminders WHERE todo_id = $1 RETURNING id",
        todo["id"],
    )
    await connection.execute(
        "UPDATE reminders SET state = 'claimed', claimed_at = now() WHERE todo_id = $1", todo["id"]
    )
    await connection.close()
    shown = (await person.get(f"/todos/{todo['id']}/reminders")).json()["items"]
    assert shown[0]["state"] == "failed"
    assert shown[0]["deliveries"][0]["last_error"] == "the receiver said 500"
    return str(delivery_id)


@pytest.mark.usefixtures("_admins_database")
async def test_dead_deliveries_are_listed_with_their_error_and_sent_again_when_asked(
    lin: Person, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = await dead_delivery(lin, database_url), await dead_delivery(lin, database_url)
    assert await in_thread(main, ["reminders", "list", "--limit", "100"]) == 0
    listed = capsys.readouterr().out
    assert first in listed
    assert second in listed
    assert "after 30 attempts  the receiver said 500" in listed
    assert await in_thread(main, ["reminders", "retry", first]) == 0
    assert capsys.readouterr().out == "1 on their way again.\n"
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow(
        "SELECT state, attempts, next_attempt_at <= now() AS due, now() - created_at < '1 min' AS young"
        " FROM deliveries WHERE id = $1",
        first,
    )
    assert dict(row) == {"state": "pending", "attempts": 0, "due": True, "young": True}
    assert await connection.fetchval("SELECT state FROM deliveries WHERE id = $1", second) == "dead"
    assert await in_thread(main, ["reminders", "retry", "--all"]) == 0
    assert await connection.fetchval("SELECT state FROM deliveries WHERE id = $1", second) == "pending"
    await connection.close()
    assert await in_thread(main, ["reminders", "list"]) == 0
    assert capsys.readouterr().out.endswith("No delivery was given up.\n")


@pytest.mark.usefixtures("_admins_database")
def test_retrying_nothing_in_particular_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["reminders", "retry"])
    assert stopped.value.code == 2
    assert "--all" in capsys.readouterr().err
