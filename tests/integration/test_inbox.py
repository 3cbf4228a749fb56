"""The inbox's order: numbers are seen in their order, each delivery once, whoever writes and reads at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import RunApi, make_settings
from tests.factories import Api, Person
from tests.streaming import ring, stream, tell, titles
from todo_core.accounts.tokens import Principal
from todo_core.database import Database
from todo_core.inbox import repository as inbox
from todo_core.inbox.repository import Inboxes, InboxReads
from todo_core.settings import StreamSettings

WRITERS = 8
EACH = 60


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A process's connections, beside those of the API."""
    database = Database(make_settings(database_url).database)
    yield database
    await database.close()


async def add(inboxes: Inboxes, person: Person, title: str = "Buy milk", delivery_id: str | None = None) -> int | None:
    return await inboxes.add(
        account_id=person.id, kind="reminder", title=title, delivery_id=delivery_id, todo_id=None, due_at=None
    )


async def read_while_writing(reads: InboxReads, person: Person, write: Callable[[], asyncio.Task[object]]) -> list[int]:
    """What a reader sees who always asks for what comes after the last that it has seen, until all is written."""
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
    inboxes = Inboxes(database.statements)
    assert [await add(inboxes, lin) for _ in range(3)] == [1, 2, 3]
    assert await add(inboxes, wang) == 1


async def test_a_repeat_of_a_delivery_is_told_once_and_takes_no_number(database: Database, lin: Person) -> None:
    inboxes, delivery_id = Inboxes(database.statements), str(uuid4())
    assert await add(inboxes, lin, delivery_id=delivery_id) == 1
    assert await add(inboxes, lin, delivery_id=delivery_id) is None
    assert await add(inboxes, lin) == 2


async def test_of_repeats_at_once_one_is_told(database: Database, lin: Person) -> None:
    inboxes, delivery_id = Inboxes(database.statements), str(uuid4())
    told = await asyncio.gather(*(add(inboxes, lin, delivery_id=delivery_id) for _ in range(20)))
    assert sum(seq is not None for seq in told) == 1
    rows = await InboxReads(database.statements).after(Principal(UUID(lin.id), 1), 0, 100)
    assert [row["delivery_id"] for row in rows or []] == [delivery_id]


async def test_an_account_that_is_gone_is_told_nothing(database: Database, lin: Person) -> None:
    inboxes = Inboxes(database.statements)
    assert (await lin.request("DELETE", "/users/me", json={"password": lin.password})).status_code == 204
    assert await add(inboxes, lin) is None


async def test_an_account_can_be_deleted_while_it_is_told_things(database: Database, lin: Person) -> None:
    inboxes = Inboxes(database.statements)
    assert await add(inboxes, lin) == 1
    told = asyncio.gather(*(add(inboxes, lin) for _ in range(100)))
    assert (await lin.request("DELETE", "/users/me", json={"password": lin.password})).status_code == 204
    numbers = [seq for seq in await told if seq is not None]
    assert sorted(numbers) == list(range(2, len(numbers) + 2))


async def test_no_reader_passes_over_a_number_however_many_write(database: Database, lin: Person) -> None:
    inboxes = Inboxes(database.statements)

    async def write() -> None:
        for _ in range(EACH):
            await add(inboxes, lin)

    seen = await read_while_writing(
        InboxReads(database.statements),
        lin,
        lambda: asyncio.ensure_future(asyncio.gather(*(write() for _ in range(WRITERS)))),
    )
    assert seen == list(range(1, WRITERS * EACH + 1))


Read = Callable[[], Awaitable[object]]


async def write_late(database_url: str, statement: str, person: Person, read: Read) -> None:
    """One write begins, a second one begins after it, and somebody reads; then both are committed, and they read again.

    The titles are the order in which the two began.
    """
    first, second, other = [await asyncpg.connect(database_url) for _ in range(3)]

    def values(title: str) -> tuple[Any, ...]:
        return str(uuid4()), person.id, "reminder", None, None, title, None

    try:
        transaction = first.transaction()
        await transaction.start()
        await first.fetchrow(statement, *values("late"))
        writing = asyncio.create_task(second.fetchrow(statement, *values("later")))
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
    head, _, rest = inbox._ADD.partition("counter AS (")
    counter = f"counter AS (SELECT id AS account_id, nextval('{sequence}') AS last_seq FROM owner\n)"
    return head + counter + rest.partition("RETURNING account_id, last_seq\n)")[2]


async def listed(database: Database, database_url: str, statement: str, person: Person) -> list[str]:
    """What a reader gets who always asks for what comes after the last that it has seen."""
    reads = InboxReads(database.statements)
    rows: list[asyncpg.Record] = []

    async def read() -> None:
        found = await reads.after(Principal(UUID(person.id), 1), rows[-1]["seq"] if rows else 0, 100)
        rows.extend(found or [])

    await write_late(database_url, statement, person, read)
    return [row["title"] for row in rows]


async def streamed(api: Api, database: Database, database_url: str, statement: str, person: Person) -> list[str]:
    """What a client gets whose stream is open all the time, and rung whenever there may be something."""
    async with stream(person, last="0") as events:
        await anext(events)
        found: list[str] = []

        async def read() -> None:
            told = await database.statements.fetch("SELECT seq FROM notifications WHERE account_id = $1", person.id)
            if told and not found:
                await ring(api, person, told[-1]["seq"])
                found.extend(await titles(events, 1))

        await write_late(database_url, statement, person, read)
        await ring(api, person, await tell(api, person, "last"))
        while found[-1] != "last":
            found += await titles(events, 1)
        return found


async def test_a_late_commit_is_not_passed_over(
    api: Api, database: Database, database_url: str, lin: Person, wang: Person
) -> None:
    assert await listed(database, database_url, inbox._ADD, lin) == ["late", "later"]
    assert await streamed(api, database, database_url, inbox._ADD, wang) == ["late", "later", "last"]


async def test_with_a_sequence_instead_of_the_lock_a_late_commit_would_be_passed_over(
    api: Api, database: Database, database_url: str, lin: Person, wang: Person
) -> None:
    """What the test before is worth: it fails for a statement that takes its numbers from a sequence."""
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
