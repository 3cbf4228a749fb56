"""The size of an account's rows on disk, and the cost of the hourly purge."""

from statistics import median
from time import perf_counter
from uuid import UUID

import asyncpg

from bench import data, report
from bench.sampling import Ratio
from bench.stack import Stack, sign_up
from todo_core.database import StatementPool
from todo_core.purge import Purge
from todo_core.settings import DatabaseSettings

TODOS = 100_000
FEW_TODOS = 20_000
BOUND = 1.5
"""What a delivery may cost the purge in a table of five times the size."""
TABLES = ("todos", "reminders", "deliveries", "notifications")

# Each todo has had one reminder, which went to the inbox. Ids of now, in order, as the service makes them.
_REMIND = """
INSERT INTO reminders (id, account_id, todo_id, before_days, before_seconds, remind_at, state, claimed_at)
SELECT uuidv7(), owner_id, id, 0, 0, created_at, 'sent', created_at FROM todos WHERE owner_id = $1
"""
_DELIVER = """
INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at, state, attempts, settled_at)
SELECT uuidv7(), id, 1, 'inbox', account_id, remind_at, 'sent', 1, now() FROM reminders WHERE account_id = $1
"""
_NOTIFY = """
INSERT INTO notifications (id, account_id, seq, kind, delivery_id, todo_id, title, due_at)
SELECT uuidv7(), r.account_id, row_number() OVER (ORDER BY d.id), 'reminder', d.id, t.id, t.title, d.due_at
FROM deliveries d JOIN reminders r ON r.id = d.reminder_id JOIN todos t ON t.id = r.todo_id
WHERE r.account_id = $1
"""


async def run(stack: Stack, *, quick: bool) -> tuple[dict[str, object], list[Ratio]]:
    """Measure, print, and return the figures with the bound's ratio."""
    server = stack.serve_api("api", cached=False)
    looks = 5 if quick else 9
    connection = await asyncpg.connect(stack.postgres.url())
    try:
        await _fill(connection, sign_up(server, "few").id, FEW_TODOS)
        few = await _purge(stack.postgres.url(), FEW_TODOS, looks)
        await _fill(connection, sign_up(server).id, TODOS - FEW_TODOS)
        many = await _purge(stack.postgres.url(), TODOS, looks)
        print(f"\n{TODOS:,} todos, each with a reminder that went to the inbox")
        sizes = [await _size(connection, table) for table in TABLES]
        print(report.table([("a row of", "bytes", "of them in indexes"), *sizes]))
    finally:
        await connection.close()
    print(f"The purge, with nothing to remove: {median(many):.1f} s for each million deliveries.")
    ratio = Ratio.of(f"purge, a delivery of {TODOS:,} / of {FEW_TODOS:,}", many, few, BOUND)
    print(ratio)
    return {"bytes": {row[0]: int(row[1]) for row in sizes}, "purge_seconds_per_million": median(many)}, [ratio]


async def _fill(connection: asyncpg.Connection, owner: UUID, todos: int) -> None:
    await data.insert_todos(connection, owner, todos)
    for statement in (_REMIND, _DELIVER, _NOTIFY):
        await connection.execute(statement, owner)
    await connection.execute("VACUUM (ANALYZE)")
    await connection.execute("CHECKPOINT")


async def _size(connection: asyncpg.Connection, table: str) -> tuple[str, str, str]:
    size, indexes, count = await connection.fetchrow(
        f"SELECT pg_total_relation_size('{table}'), pg_indexes_size('{table}'), (SELECT count(*) FROM {table})"
    )
    return table, f"{size / count:.0f}", f"{indexes / count:.0f}"


async def _purge(url: str, deliveries: int, looks: int) -> list[float]:
    """Seconds for each million deliveries, so many times."""
    statements = StatementPool(DatabaseSettings(url=url))
    times = []
    try:
        for _ in range(looks):
            began = perf_counter()
            await Purge(statements).deliveries()
            times.append((perf_counter() - began) * 1e6 / deliveries)
    finally:
        await statements.close()
    return times
