"""What each statement costs, as PostgreSQL itself says: a page reads the rows that it shows, however deep it lies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event

from tests.conftest import MakeDatabase, in_thread, make_settings
from todo_core.accounts.repository import AccountReads, AccountRepository
from todo_core.accounts.tokens import Principal
from todo_core.database import Database, StatementPool, Statements, Transaction
from todo_core.migrations import runner
from todo_core.paging import Place
from todo_core.reminders.models import RemindedTodo
from todo_core.reminders.plan import PlannedReminder
from todo_core.reminders.repository import ReminderRepository
from todo_core.settings import DatabaseSettings
from todo_core.todos.models import WRITTEN
from todo_core.todos.queries import SORT_NAMES, ListQuery, Sort
from todo_core.todos.repository import TodoReads, TodoRepository

Plan = dict[str, Any]
PlanMode = Literal["force_custom_plan", "force_generic_plan"]

LIMIT = 20
OWNER = Principal(UUID("00000000-0000-7000-8000-000000000001"), 1)
NOW = datetime(2026, 11, 24, tzinfo=UTC)
TODO_ID = UUID("00000000-0000-7000-8001-000000010000")

ACCOUNTS = """
INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)
SELECT ('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid,
       'user' || i, 'user' || i, 'user' || i || '@example.com', 'user' || i || '@example.com', 'x'
FROM generate_series(1, 500) i
"""
# The owner has 20,000, everybody else 20. A third is done, another third has no due date, and no order follows another.
TODOS = """
INSERT INTO todos (id, owner_id, title, description, due_at, completed_at, created_at, updated_at)
SELECT ('00000000-0000-7000-8001-' || lpad(i::text, 12, '0'))::uuid,
       ('00000000-0000-7000-8000-' || lpad((CASE WHEN i <= 20000 THEN 1 ELSE 2 + i % 499 END)::text, 12, '0'))::uuid,
       md5(i::text), repeat('words ', 20),
       CASE WHEN i % 3 <> 0 THEN timestamptz '2026-01-01' + (i::bigint * 7919 % 20011) * interval '1 hour' END,
       CASE WHEN i / 3 % 3 = 1 THEN timestamptz '2026-06-01' END,
       timestamptz '2026-01-01' + i * interval '1 minute',
       timestamptz '2026-01-01' + (i::bigint * 104729 % 30011) * interval '1 minute'
FROM generate_series(1, 30000) i
"""
REFRESH_TOKENS = """
INSERT INTO refresh_tokens (id, account_id, family_id, token_hash, expires_at)
SELECT gen_random_uuid(), ('00000000-0000-7000-8000-' || lpad((1 + i % 500)::text, 12, '0'))::uuid,
       ('00000000-0000-7000-8002-' || lpad((i / 4)::text, 12, '0'))::uuid, sha256(i::text::bytea), now()
FROM generate_series(1, 20000) i
"""
PREFERENCES = "INSERT INTO preferences (account_id) SELECT id FROM accounts"
# Each todo has one; one of the owner's ten has a delivery.
REMINDERS = """
INSERT INTO reminders (id, account_id, todo_id, before_days, before_seconds, remind_at, state)
SELECT overlay(id::text placing '8003' from 20 for 4)::uuid, owner_id, id, 0, 0, due_at,
       CASE WHEN due_at IS NULL THEN 'cancelled' ELSE 'scheduled' END
FROM todos
"""
DELIVERIES = """
INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at)
SELECT gen_random_uuid(), id, 1, 'inbox', account_id, now() FROM reminders WHERE id::text LIKE '%0'
"""


async def fill(url: str, *, analyze: bool) -> None:
    connection = await asyncpg.connect(url)
    for statement in (ACCOUNTS, TODOS, REFRESH_TOKENS, PREFERENCES, REMINDERS, DELIVERIES):
        await connection.execute(statement)
    if analyze:
        await connection.execute("ANALYZE")
    await connection.close()


@pytest.fixture(scope="module")
async def url(make_database: MakeDatabase) -> str:
    """A database with 20,000 todos of one account among those of others."""
    made = await make_database()
    await in_thread(runner.upgrade, make_settings(made))
    await fill(made, analyze=True)
    return made


@pytest.fixture(scope="module")
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Where plans are asked for."""
    opened = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    yield opened
    await opened.close()


@dataclass(frozen=True)
class Asked:
    """A statement, word for word as the code sends it, and its parameters."""

    statement: str
    parameters: tuple[object, ...]


class Recorder:
    """Stands where the pool does, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    async def fetch(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        self.asked.append(Asked(statement, parameters))
        # an empty page of an account that is there
        return [{"id": None, "change_seq": 1, "changed_at": NOW}]

    async def fetchrow(self, statement: str, *parameters: object) -> Any:
        self.asked.append(Asked(statement, parameters))


class WriteRecorder(Recorder):
    """Stands where a transaction does; its rows are those of settings and of no reminder."""

    async def fetch(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        return [await self.fetchrow(statement, *parameters)]

    async def fetchrow(self, statement: str, *parameters: object) -> dict[str, Any]:
        await super().fetchrow(statement, *parameters)
        return {"id": None, "default_reminders": ["PT0S"], "timezone": "UTC", "quiet_start": None, "quiet_end": None}

    alone = fetchrow


def reads(recorder: Recorder) -> tuple[TodoReads, AccountReads]:
    pool = cast("StatementPool", recorder)
    return TodoReads(pool), AccountReads(pool)


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, list | tuple):
        return "'{" + ", ".join("NULL" if item is None else f'"{item}"' for item in value) + "}'"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return "'" + str(value).replace("'", "''") + "'"


async def explain(connection: asyncpg.Connection, asked: Asked, mode: PlanMode) -> Plan:
    """How PostgreSQL ran it, in figures; what it changed is undone."""
    arguments = f"({', '.join(map(literal, asked.parameters))})" if asked.parameters else ""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
    await connection.execute(f"PREPARE asked AS {asked.statement}")
    try:
        answer = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE asked{arguments}"
        )
    finally:
        await transaction.rollback()
        await connection.execute("DEALLOCATE asked")
    plan: Plan = json.loads(answer)[0]["Plan"]
    return plan


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def scans(plan: Plan, table: str) -> list[Plan]:
    """The nodes that read a table, those of an index alone included."""
    return [
        node
        for node in nodes(plan)
        if node.get("Relation Name") == table
        or ("Scan" in node["Node Type"] and f"_{table}" in node.get("Index Name", ""))
    ]


def rows_read(scan: Plan) -> int:
    dropped = scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
    rows: float = (scan["Actual Rows"] + dropped) * scan["Actual Loops"]
    return round(rows)


def blocks(plan: Plan) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def shown(plan: Plan) -> str:
    return json.dumps(plan, indent=1)


def assert_reads_a_page_by(index: str, plan: Plan) -> None:
    """By this index alone, no more rows than twice the page, none of them sorted but those of the page."""
    of_todos = scans(plan, "todos")
    assert {(scan["Node Type"], scan.get("Index Name")) for scan in of_todos} == {("Index Scan", index)}, shown(plan)
    assert sum(map(rows_read, of_todos)) <= 2 * (LIMIT + 1), shown(plan)
    for node in nodes(plan):
        if "Sort" in node["Node Type"]:
            assert sum(child["Actual Rows"] for child in node["Plans"]) <= 2 * (LIMIT + 1), shown(plan)
    # Each row may lie on a page of its own; the rest is the way down the index, once for each half.
    assert blocks(plan) <= 2 * (LIMIT + 1) + 20, shown(plan)
    (account,) = scans(plan, "accounts")
    assert (account["Index Name"], rows_read(account)) == ("pk_accounts", 1), shown(plan)


async def place_at(connection: asyncpg.Connection, query: ListQuery, depth: int, *, with_key: bool = True) -> Place:
    """Where the row at a depth stands: the page after it is the one to be explained."""
    sort = Sort.of(query.sort)
    direction = "DESC" if sort.descending else "ASC"
    conditions = [f"owner_id = '{OWNER.id}'"]
    if query.completed is not None:
        conditions.append(f"completed = {query.completed}")
    if sort.nullable:
        conditions.append(f"{sort.column} IS {'NOT ' if with_key else ''}NULL")
    row = await connection.fetchrow(
        f"SELECT {sort.column}, id FROM todos WHERE {' AND '.join(conditions)}"
        f" ORDER BY {sort.column} {direction}, id {direction} OFFSET {depth} LIMIT 1"
    )
    assert row is not None
    return Place(row[0], row["id"])


async def asked_for(query: ListQuery, place: Place | None) -> list[Asked]:
    recorder = Recorder()
    await reads(recorder)[0].page(OWNER, query, place)
    return recorder.asked


OF_REMINDERS = "uq_deliveries_reminder_id_occurrence_channel_endpoint_id"
MODES: tuple[PlanMode, ...] = ("force_custom_plan", "force_generic_plan")
by_every_sort = pytest.mark.parametrize("sort", SORT_NAMES)
by_every_filter = pytest.mark.parametrize("completed", [None, False, True], ids=["all", "open", "done"])
in_every_mode = pytest.mark.parametrize("mode", MODES)


def index_of(sort: str) -> str:
    return f"ix_todos_owner_id_completed_{Sort.of(sort).column}_id"


@by_every_sort
@by_every_filter
@in_every_mode
async def test_a_page_costs_the_rows_that_it_shows_at_any_depth(
    connection: asyncpg.Connection, sort: str, completed: bool | None, mode: PlanMode
) -> None:
    query = ListQuery(sort=sort, limit=LIMIT, completed=completed)
    places = [None, await place_at(connection, query, LIMIT - 1), await place_at(connection, query, 4_000)]
    for place in places:
        asked = (await asked_for(query, place))[0]
        plan = await explain(connection, asked, mode)
        assert plan["Actual Rows"] == LIMIT + 1
        assert_reads_a_page_by(index_of(sort), plan)


@pytest.mark.parametrize("sort", ["due_at", "-due_at"])
@by_every_filter
@in_every_mode
async def test_todos_without_a_due_date_cost_the_same(
    connection: asyncpg.Connection, sort: str, completed: bool | None, mode: PlanMode
) -> None:
    query = ListQuery(sort=sort, limit=LIMIT, completed=completed)
    last_with_a_date = await place_at(connection, ListQuery(sort=sort, completed=completed), 4_000)
    first, *_ = [asked for asked in await asked_for(query, last_with_a_date) if "due_at IS NULL" in asked.statement]
    for depth in (None, LIMIT, 2_000):
        if depth is None:
            asked = first
        else:
            place = await place_at(connection, query, depth, with_key=False)
            assert place.key is None
            (asked,) = await asked_for(query, place)
        plan = await explain(connection, asked, mode)
        assert plan["Actual Rows"] == LIMIT + 1
        assert_reads_a_page_by(index_of(sort), plan)


@pytest.mark.parametrize("sort", ["due_at", "-due_at"])
@by_every_filter
@in_every_mode
async def test_a_range_of_due_dates_is_read_where_it_lies(
    connection: asyncpg.Connection, sort: str, completed: bool | None, mode: PlanMode
) -> None:
    since, until = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)
    place = Place(datetime(2027, 1, 15, tzinfo=UTC), TODO_ID)
    for after, before in ((since, until), (since, None), (None, until)):
        query = ListQuery(sort=sort, limit=LIMIT, completed=completed, due_after=after, due_before=before)
        for start in (None, place):
            (asked,) = await asked_for(query, start)
            assert_reads_a_page_by(index_of(sort), await explain(connection, asked, mode))


async def test_a_plan_made_while_the_tables_were_empty_is_as_good(make_database: MakeDatabase) -> None:
    """The API plans each statement once a connection: also on the day when the first person signs up."""
    url = await make_database()
    await in_thread(runner.upgrade, make_settings(url))
    connection = await asyncpg.connect(url, server_settings={"plan_cache_mode": "force_generic_plan"})
    asked = {sort: (await asked_for(ListQuery(sort=sort, limit=LIMIT), None))[0] for sort in SORT_NAMES}
    for number, sort in enumerate(SORT_NAMES):
        await connection.execute(f"PREPARE s{number} AS {asked[sort].statement}")
        await connection.execute(f"EXECUTE s{number} ({', '.join(map(literal, asked[sort].parameters))})")
    await fill(url, analyze=False)
    for number, sort in enumerate(SORT_NAMES):
        arguments = ", ".join(map(literal, asked[sort].parameters))
        answer = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE s{number} ({arguments})"
        )
        assert_reads_a_page_by(index_of(sort), json.loads(answer)[0]["Plan"])
    await connection.close()


@in_every_mode
async def test_one_todo_and_the_account_are_found_by_their_primary_keys(
    connection: asyncpg.Connection, mode: PlanMode
) -> None:
    recorder = Recorder()
    todos, accounts = reads(recorder)
    await todos.one(OWNER, TODO_ID)
    await accounts.list_version(OWNER)
    await accounts.credentials_of(OWNER)
    plans = [await explain(connection, asked, mode) for asked in recorder.asked]
    assert [index_names(plan) for plan in plans] == [{"pk_accounts", "pk_todos"}, {"pk_accounts"}, {"pk_accounts"}]
    assert max(map(blocks, plans)) <= 10


@in_every_mode
async def test_sign_in_finds_the_account_by_its_unique_indices(connection: asyncpg.Connection, mode: PlanMode) -> None:
    recorder = Recorder()
    accounts = reads(recorder)[1]
    await accounts.credentials(username_key="user7")
    await accounts.credentials(email_key="user7@example.com")
    plans = [await explain(connection, asked, mode) for asked in recorder.asked]
    assert [index_names(plan) for plan in plans] == [{"uq_accounts_username_key"}, {"uq_accounts_email_key"}]
    assert max(map(blocks, plans)) <= 5


def index_names(plan: Plan) -> set[str]:
    """The indices that a plan reads; fails where it reads a whole table."""
    assert [node for node in nodes(plan) if node["Node Type"] == "Seq Scan"] == [], shown(plan)
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


@asynccontextmanager
async def recorded_session(url: str) -> AsyncIterator[tuple[AccountRepository, list[Asked]]]:
    """The repository of accounts, and what it sends."""
    database = Database(DatabaseSettings(url=url))
    asked: list[Asked] = []

    def note(_: object, __: object, statement: str, parameters: tuple[object, ...], *___: object) -> None:
        asked.append(Asked(statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    async with database.sessions() as session:
        yield AccountRepository(session), asked
        await session.rollback()
    await database.close()


async def test_statements_within_a_transaction_read_no_table_whole(url: str, connection: asyncpg.Connection) -> None:
    async with recorded_session(url) as (accounts, asked):
        await accounts.begin_change(OWNER)
        await accounts.get(OWNER, lock=True)
        await accounts.taken("user7", "user8@example.com", besides=OWNER.id)
        token = await accounts.lock_refresh_token(bytes(32))
        assert token is None
        await accounts.delete_family(UUID("00000000-0000-7000-8002-000000000001"))
        await accounts.delete_all_refresh_tokens(OWNER.id)
    assert len(asked) >= 6
    used = [index_names(await explain(connection, one, "force_custom_plan")) for one in asked]
    assert all(used), asked
    assert set().union(*used) >= {
        "pk_accounts", "uq_accounts_username_key", "uq_accounts_email_key", "uq_refresh_tokens_token_hash",
        "ix_refresh_tokens_account_id", "ix_refresh_tokens_family_id",
    }  # fmt: skip


@in_every_mode
async def test_a_change_of_a_todo_reads_no_table_whole(connection: asyncpg.Connection, mode: PlanMode) -> None:
    recorder = WriteRecorder()
    todos = TodoRepository(cast("Transaction", recorder))
    reminders = ReminderRepository(cast("Statements", recorder))
    todo = {"id": TODO_ID, "completed_at": None, "own_reminders": False, **dict.fromkeys(WRITTEN), "title": "a"}
    row_id = UUID("00000000-0000-7000-8003-000000010000")
    new = PlannedReminder(0, 0)
    writes: list[tuple[Coroutine[Any, Any, object], set[str]]] = [
        (todos.create(OWNER, todo, completed=True, own_reminders=True, alone=True), {"pk_accounts"}),
        (todos.lock(OWNER, TODO_ID), {"pk_accounts", "pk_todos"}),
        (todos.account_stands(OWNER), {"pk_accounts"}),
        (todos.write(OWNER, todo, version=2, updated_at=NOW), {"pk_todos", "ix_reminders_todo_id"}),
        (todos.delete(OWNER, TODO_ID), {"pk_todos"}),
        (reminders.plan(OWNER.id), {"pk_accounts", "pk_preferences"}),
        (reminders.lock(OWNER.id, TODO_ID), {"pk_accounts", "pk_preferences", "ix_reminders_todo_id"}),
        (reminders.save(RemindedTodo(TODO_ID, OWNER.id, NOW, completed=False, own_reminders=False), [new]), set()),
        (reminders.delete(OWNER.id, [row_id]), {"pk_reminders"}),
        (reminders.move(OWNER.id, [(row_id, NOW)]), {"pk_reminders"}),
        (reminders.cancel_deliveries([row_id]), {OF_REMINDERS, "pk_deliveries"}),
    ]  # fmt: skip
    for write, expected in writes:
        await write
        plan = await explain(connection, recorder.asked.pop(), mode)
        assert index_names(plan) == expected, shown(plan)
        # Rows, not blocks: a write also counts the blocks of catalogues and free-space maps, more after a vacuum.
        assert sum(rows_read(node) for node in nodes(plan) if "Index Name" in node) <= 3, shown(plan)


async def test_all_of_an_account_goes_without_reading_the_tables_of_others(connection: asyncpg.Connection) -> None:
    """A foreign key without an index at its near end would read every todo of everybody for each account deleted."""
    unserved = await connection.fetch(
        """
        SELECT conrelid::regclass::text AS of, conname FROM pg_constraint c
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1] AND i.indpred IS NULL
        )
        """
    )
    assert [tuple(row) for row in unserved] == []


async def test_every_index_of_todos_serves_a_statement_and_none_is_more_than_needed(
    connection: asyncpg.Connection,
) -> None:
    used = {"pk_todos"}  # by the test for one todo, above
    for sort in SORT_NAMES:
        for asked in await asked_for(ListQuery(sort=sort, limit=LIMIT), None):
            used |= index_names(await explain(connection, asked, "force_custom_plan"))
    there = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'todos'")
    assert {row[0] for row in there} == used - {"pk_accounts"}
