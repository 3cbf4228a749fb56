"""The cost of the inbox's statements by EXPLAIN: they read only the rows that they return, at any size."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import MakeDatabase, in_thread, make_settings
from todo_core.inbox import repository as inbox
from todo_core.migrations import runner

OWNER = UUID("00000000-0000-7000-8000-000000000001")
MODES = ("force_custom_plan", "force_generic_plan")
# The owner has 20,000 notifications, of which the newest hundred are not read, and 200 others have 100 each.
FILL = """
INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)
SELECT ('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid,
       'user' || i, 'user' || i, 'user' || i || '@example.com', 'user' || i || '@example.com', 'x'
FROM generate_series(1, 201) i;
INSERT INTO inboxes (account_id, last_seq) SELECT id, 20000 FROM accounts;
INSERT INTO notifications (id, account_id, seq, kind, title, read_at)
SELECT gen_random_uuid(), a.id, n, 'reminder', md5(n::text), CASE WHEN n <= 19900 THEN now() END
FROM accounts a, generate_series(1, 20000) n
WHERE a.username = 'user1' OR n <= 100;
"""


@pytest.fixture(scope="module")
async def url(make_database: MakeDatabase) -> str:
    """The URL of a database that holds all this."""
    url = await make_database()
    await in_thread(runner.upgrade, make_settings(url))
    connection = await asyncpg.connect(url)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return url


@pytest.fixture
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it; what a test writes is undone."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def rows_read(connection: asyncpg.Connection, mode: str, statement: str, *values: object) -> dict[str, int]:
    """By table, how many rows a statement looks at; a table that is read whole counts as a million more."""
    await connection.execute(f"SET LOCAL plan_cache_mode = '{mode}'")
    literals = ", ".join("NULL" if value is None else f"'{value}'" for value in values)
    await connection.execute(f"PREPARE asked AS {statement}")
    plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ({literals})"))[0][
        "Plan"
    ]
    counted: dict[str, int] = {}
    for node in nodes(plan):
        if (table := node.get("Relation Name")) and node["Node Type"] != "ModifyTable":
            rows = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
            whole = 1_000_000 if node["Node Type"] == "Seq Scan" and table == "notifications" else 0
            counted[table] = counted.get(table, 0) + round(rows) + whole
    return counted


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, from the top."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("below", [20_001, 10_000, 15])
async def test_a_page_costs_what_it_shows_at_any_depth(connection: asyncpg.Connection, mode: str, below: int) -> None:
    read = await rows_read(connection, mode, inbox._PAGES[False], OWNER, 1, below, 21)
    assert read == {"accounts": 1, "notifications": min(21, below - 1)}


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_not_read_is_found_without_looking_at_what_is(connection: asyncpg.Connection, mode: str) -> None:
    assert (await rows_read(connection, mode, inbox._PAGES[True], OWNER, 1, 20_001, 21))["notifications"] == 21
    await connection.execute("DEALLOCATE asked")
    # All that there are, and no more.
    assert (await rows_read(connection, mode, inbox._PAGES[True], OWNER, 1, 19_950, 101))["notifications"] == 49


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("seq", "rows"), [(0, 100), (10_000, 100), (19_999, 1), (20_000, 0)])
async def test_a_stream_reads_what_is_new(connection: asyncpg.Connection, mode: str, seq: int, rows: int) -> None:
    assert (await rows_read(connection, mode, inbox._AFTER, OWNER, 1, seq, 100))["notifications"] == rows


@pytest.mark.parametrize("mode", MODES)
async def test_one_notification_more_reads_no_other(connection: asyncpg.Connection, mode: str) -> None:
    new, delivery, reminder, todo = (UUID(int=number) for number in range(1, 5))
    for statement in (
        "INSERT INTO todos (id, owner_id, title, created_at, updated_at)"
        f" VALUES ('{todo}', '{OWNER}', 'x', now(), now())",
        "INSERT INTO reminders (id, account_id, todo_id, at, remind_at, state)"
        f" VALUES ('{reminder}', '{OWNER}', '{todo}', now(), now(), 'claimed')",
        "INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at)"
        f" VALUES ('{delivery}', '{reminder}', 1, 'inbox', '{OWNER}', now())",
    ):
        await connection.execute(statement)
    statement = inbox._ANNOUNCE.format(skip="")
    read = await rows_read(connection, mode, statement, f"{{{delivery}}}", "{0}", f"{{{OWNER}}}", f"{{{new}}}")
    assert read.get("notifications", 0) == 0
    assert await connection.fetchval("SELECT count(*) FROM notifications WHERE id = $1", new) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_marking_reads_what_it_marks(connection: asyncpg.Connection, mode: str) -> None:
    # Each twice: once to lock it, once to change it.
    assert (await rows_read(connection, mode, inbox._MARK_ALL, OWNER, 1, 20_000))["notifications"] <= 200
    await connection.execute("DEALLOCATE asked")
    one = await connection.fetchval("SELECT id FROM notifications WHERE account_id = $1 AND seq = 7", OWNER)
    assert (await rows_read(connection, mode, inbox._MARK_ONE, OWNER, 1, one))["notifications"] <= 2
