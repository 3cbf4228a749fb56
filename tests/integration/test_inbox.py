"""The inbox's order: numbers become visible in ascending order, each delivery once, with concurrent writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import RunApi, make_settings
from tests.factories import Api, Person
from tests.streaming import leased, ring, stream, tell, titles
from tests.worker_kit import eventually
from todo_core.accounts.tokens import Principal
from todo_core.database import Database
from todo_core.inbox import repository as inbox
from todo_core.inbox.repository import Announced, Inboxes, InboxReads, Leased
from todo_core.settings import StreamSettings

WRITERS = 8
EACH = 60


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A process's connections, beside those of the API."""
    database = Database(make_settings(database_url).database)
    yield database
    await database.close()


async def add(
    database: Database, person: Person, title: str = "Buy milk", delivery_id: str | None = None
) -> int | None:
    """Announce a todo that is due; the notification's number."""
    delivery = await leased(database.statements, person.id, title, delivery_id=delivery_id)
    (announced,) = await Inboxes(database.statements).announce([delivery])
    return announced.seq


async def read_while_writing(reads: InboxReads, person: Person, write: Callable[[], asyncio.Task[object]]) -> list[int]:
    """Read repeatedly after the last number seen until all is written; return the numbers."""
    owner = Principal(UUID(person.id), 1)
    seen: list[int] = []
    writing = write()
    while True:
        finished = writing.done()  # before the read: what was written by now is in it
        rows = await reads.after(owner, seen[-1] if seen else 0, 5)
        assert rows is not None
        seen += [row["seq"] for row in rows]
        if finished and not rows:
            await writing
            return seen


async def test_numbers_count_up_by_account(database: Database, lin: Person, wang: Person) -> None:
    assert [await add(database, lin) for _ in range(3)] == [1, 2, 3]
    assert await add(database, wang) == 1


async def test_many_are_announced_at_once_in_the_order_in_which_they_are_due(
    database: Database, lin: Person, wang: Person
) -> None:
    await add(database, lin)
    many = [
        await leased(database.statements, person.id, f"{person.username} {number}")
        for number in range(5)
        for person in (lin, wang)
    ]
    await database.statements.fetch(
        "UPDATE deliveries SET due_at = clock_timestamp() WHERE id = $1", many[0].delivery_id
    )
    announced = await Inboxes(database.statements).announce([*many, Leased(str(uuid4()), 1, lin.id)])
    assert [each.wanted for each in announced] == [True] * 10 + [False]
    for person, first in ((lin, 2), (wang, 1)):
        rows = await InboxReads(database.statements).after(Principal(UUID(person.id), 1), first - 1, 100)
        titles = [f"{person.username} {number}" for number in range(5)]
        expected = [*titles[1:], titles[0]] if person is lin else titles
        assert [(row["seq"], row["title"]) for row in rows or []] == list(enumerate(expected, first))


async def test_a_repeat_of_a_delivery_is_told_once_and_takes_no_number(database: Database, lin: Person) -> None:
    delivery_id = str(uuid4())
    assert await add(database, lin, delivery_id=delivery_id) == 1
    assert await add(database, lin, delivery_id=delivery_id) is None
    assert await add(database, lin) == 2


async def test_of_repeats_at_once_one_is_told(database: Database, lin: Person) -> None:
    delivery = await leased(database.statements, lin.id, "Buy milk")
    inboxes = Inboxes(database.statements)
    told = await asyncio.gather(*(inboxes.announce([delivery]) for _ in range(20)))
    assert sum(announced.seq is not None for (announced,) in told) == 1
    rows = await InboxReads(database.statements).after(Principal(UUID(lin.id), 1), 0, 100)
    assert [row["delivery_id"] for row in rows or []] == [delivery.delivery_id]


async def test_an_account_that_is_gone_is_told_nothing(database: Database, lin: Person) -> None:
    delivery = await leased(database.statements, lin.id, "Buy milk")
    assert (await lin.request("DELETE", "/users/me", json={"password": lin.password})).status_code == 204
    (announced,) = await Inboxes(database.statements).announce([delivery], wait=True)
    assert not announced.wanted


async def test_an_account_can_be_deleted_while_it_is_told_things(database: Database, lin: Person) -> None:
    assert await add(database, lin) == 1
    many = [await leased(database.statements, lin.id, "Buy milk") for _ in range(100)]
    told = asyncio.gather(*(Inboxes(database.statements).announce([delivery]) for delivery in many))
    assert (await lin.request("DELETE", "/users/me", json={"password": lin.password})).status_code == 204
    numbers = [announced.seq for (announced,) in await told if announced.seq is not None]
    assert sorted(numbers) == list(range(2, len(numbers) + 2))


async def test_no_reader_passes_over_a_number_however_many_write(database: Database, lin: Person) -> None:
    async def write() -> None:
        for _ in range(EACH):
            await add(database, lin)

    seen = await read_while_writing(
        InboxReads(database.statements),
        lin,
        lambda: asyncio.ensure_future(asyncio.gather(*(write() for _ in range(WRITERS)))),
    )
    assert seen == list(range(1, WRITERS * EACH + 1))


# ---- what is not to be announced any more

CHANGES = {
    "completed": ("POST", "/complete", None),
    "deleted": ("DELETE", "", None),
    "moved": ("PATCH", "", {"due_at": "2100-01-01T00:00:00Z"}),
}


UNWANTED = Announced(wanted=False, seq=None, passed_over=False)


async def due(database: Database, person: Person) -> tuple[str, Leased]:
    """A todo whose reminder is under lease; its id."""
    body = {"title": "Buy milk", "due_at": "2099-01-01T00:00:00Z"}
    todo_id = str((await person.post("/todos/", json=body)).json()["id"])
    (row,) = await database.statements.fetch(
        "WITH claimed AS (UPDATE reminders SET state = 'claimed', claimed_at = now() WHERE todo_id = $1 RETURNING *)"
        " INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at, fence)"
        " SELECT gen_random_uuid(), id, occurrence, 'inbox', account_id, remind_at, 1 FROM claimed RETURNING id",
        todo_id,
    )
    return todo_id, Leased(row["id"], 1, person.id)


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_changed_is_not_announced(database: Database, lin: Person, change: str) -> None:
    todo_id, delivery = await due(database, lin)
    method, suffix, body = CHANGES[change]
    assert (await lin.request(method, f"/todos/{todo_id}{suffix}", json=body)).is_success
    assert await Inboxes(database.statements).announce([delivery]) == [UNWANTED]
    assert (await lin.get("/notifications/")).json()["items"] == []


async def test_what_another_worker_has_under_lease_by_now_is_not_announced(database: Database, lin: Person) -> None:
    _, delivery = await due(database, lin)
    await database.statements.fetch("UPDATE deliveries SET fence = 2 WHERE id = $1", delivery.delivery_id)
    assert await Inboxes(database.statements).announce([delivery]) == [UNWANTED]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_is_under_way_is_waited_for_and_holds_up_no_other_account(
    database: Database, database_url: str, lin: Person, wang: Person, change: str
) -> None:
    """The change's transaction begins before the statement, and commits after it began."""
    todo_id, delivery = await due(database, lin)
    _, other = await due(database, wang)
    holder, watcher = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    transaction = holder.transaction()
    await transaction.start()
    # What a change of a todo locks first.
    await holder.execute("UPDATE accounts SET change_seq = change_seq + 1 WHERE id = $1", lin.id)
    inboxes = Inboxes(database.statements)
    assert [(each.passed_over, each.seq) for each in await inboxes.announce([delivery, other])] == [
        (True, None),
        (False, 1),
    ]
    announcing = asyncio.create_task(inboxes.announce([delivery], wait=True))

    async def waits() -> bool:
        question = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
        return bool(await watcher.fetchval(question, holder.get_server_pid()) == 1)

    await eventually(waits)
    if change == "completed":
        await holder.execute("UPDATE todos SET completed_at = now() WHERE id = $1", todo_id)
    elif change == "moved":
        await holder.execute("UPDATE reminders SET state = 'scheduled', occurrence = 2 WHERE todo_id = $1", todo_id)
    else:
        await holder.execute("DELETE FROM todos WHERE id = $1", todo_id)
    await transaction.commit()
    assert [(each.wanted, each.seq) for each in await announcing] == [(False, None)]
    await holder.close()
    await watcher.close()


async def test_changes_and_announcements_at_once_neither_deadlock_nor_announce_what_is_done(
    database: Database, lin: Person, wang: Person
) -> None:
    made = [await due(database, person) for _ in range(25) for person in (lin, wang)]
    done: dict[str, datetime] = {}

    async def change() -> None:
        for number, (todo_id, delivery) in enumerate(made):
            person = lin if delivery.account_id == lin.id else wang
            if number % 3:
                assert (await person.post(f"/todos/{todo_id}/complete")).status_code == 200
                (row,) = await database.statements.fetch("SELECT clock_timestamp() AS now")
                done[todo_id] = row["now"]
            else:  # moves many reminders, in no order that we know
                body = {"default_reminders": [f"PT{number}S"]}
                assert (await person.request("PATCH", "/users/me/preferences", json=body)).status_code == 200

    async def announce(deliveries: list[Leased]) -> None:
        for start in range(0, len(deliveries), 5):
            await Inboxes(database.statements).announce(deliveries[start : start + 5], wait=True)

    backwards = [delivery for _, delivery in reversed(made)]
    await asyncio.gather(change(), announce(backwards), announce([*backwards[5:], *backwards[:5]]))
    rows = await database.statements.fetch(
        "SELECT todo_id, created_at FROM notifications WHERE account_id = ANY ($1::uuid[])", [lin.id, wang.id]
    )
    assert [row for row in rows if row["todo_id"] in done and row["created_at"] > done[row["todo_id"]]] == []


Read = Callable[[], Awaitable[object]]


async def write_late(database: Database, database_url: str, statement: str, person: Person, read: Read) -> None:
    """Begin a write, begin a second one, and read; then commit both, and read again.

    The titles are the order in which the two began.
    """
    first, second, other = [await asyncpg.connect(database_url) for _ in range(3)]

    async def values(title: str) -> tuple[Any, ...]:
        delivery = await leased(database.statements, person.id, title)
        return [delivery.delivery_id], [1], [person.id], [str(uuid4())]

    late, later = await values("late"), await values("later")
    try:
        transaction = first.transaction()
        await transaction.start()
        await first.fetchrow(statement, *late)
        writing = asyncio.create_task(second.fetchrow(statement, *later))
        waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
        while not writing.done() and not await other.fetchval(waits, second.get_server_pid()):
            await asyncio.wait({writing}, timeout=0.01)
        await read()
        await transaction.commit()
        await writing
        await read()
    finally:
        for connection in (first, second, other):
            await connection.close()


async def unlocked(database: Database, person: Person) -> str:
    """The statement as it would be if it took its numbers from a sequence."""
    sequence = f"seq_{UUID(person.id).hex}"
    await database.statements.fetch(f"CREATE SEQUENCE {sequence}")
    head, _, rest = inbox._ANNOUNCE.format(skip="").partition("counter AS (")
    counter = f"counter AS (SELECT id AS account_id, nextval('{sequence}') AS last_seq FROM owner\n)"
    return head + counter + rest.partition("RETURNING account_id, last_seq\n)")[2]


async def listed(database: Database, database_url: str, statement: str, person: Person) -> list[str]:
    """Return the titles that a reader gets who always reads after the last number seen."""
    reads = InboxReads(database.statements)
    rows: list[asyncpg.Record] = []

    async def read() -> None:
        found = await reads.after(Principal(UUID(person.id), 1), rows[-1]["seq"] if rows else 0, 100)
        rows.extend(found or [])

    await write_late(database, database_url, statement, person, read)
    return [row["title"] for row in rows]


async def streamed(api: Api, database: Database, database_url: str, statement: str, person: Person) -> list[str]:
    """Return the titles that a client gets by a stream that is always open and woken after each write."""
    async with stream(person, last="0") as events:
        await anext(events)
        found: list[str] = []

        async def read() -> None:
            told = await database.statements.fetch("SELECT seq FROM notifications WHERE account_id = $1", person.id)
            if told and not found:
                await ring(api, person, told[-1]["seq"])
                found.extend(await titles(events, 1))

        await write_late(database, database_url, statement, person, read)
        await ring(api, person, await tell(api, person, "last"))
        while found[-1] != "last":
            found += await titles(events, 1)
        return found


async def test_a_late_commit_is_not_passed_over(
    api: Api, database: Database, database_url: str, lin: Person, wang: Person
) -> None:
    assert await listed(database, database_url, inbox._ANNOUNCE.format(skip=""), lin) == ["late", "later"]
    assert await streamed(api, database, database_url, inbox._ANNOUNCE.format(skip=""), wang) == [
        "late",
        "later",
        "last",
    ]


async def test_with_a_sequence_instead_of_the_lock_a_late_commit_would_be_passed_over(
    api: Api, database: Database, database_url: str, lin: Person, wang: Person
) -> None:
    """This shows that the test before can fail: it does for a statement that takes its numbers from a sequence."""
    assert await listed(database, database_url, await unlocked(database, lin), lin) == ["later"]
    statement = await unlocked(database, wang)
    await database.statements.fetch("INSERT INTO inboxes (account_id, last_seq) VALUES ($1, 2)", wang.id)
    assert await streamed(api, database, database_url, statement, wang) == ["later", "last"]


async def test_a_stream_begins_anew_when_a_failover_has_taken_back_what_it_showed(
    run_api: RunApi, database: Database
) -> None:
    """Numbers that were lost are given again: a stream that has passed them would not show them."""
    api = await run_api(StreamSettings(poll_seconds=0.05))
    person = await api.person()
    for title in ("kept", "lost"):
        await tell(api, person, title)
    async with stream(person, last="0") as events:
        assert await titles(events, 2) == ["kept", "lost"]
        await database.statements.fetch("DELETE FROM notifications WHERE account_id = $1 AND seq = 2", person.id)
        await database.statements.fetch("UPDATE inboxes SET last_seq = 1 WHERE account_id = $1", person.id)
        async with asyncio.timeout(15):
            assert [event async for event in events] == [], "it ends by itself"
    async with stream(person, last="2") as events:
        assert (await anext(events))["id"] == "1"
        await tell(api, person, "anew")
        assert await titles(events, 1) == ["anew"]
