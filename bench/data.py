"""Rows to measure on, written by COPY: a hundred thousand take seconds, not minutes."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

COLUMNS = (
    "id",
    "owner_id",
    "title",
    "description",
    "due_at",
    "completed_at",
    "created_at",
    "updated_at",
    "version",
)
"""Those of `todos` that PostgreSQL does not compute itself."""

VERBS = ("Buy", "Call about", "Write up", "Repair", "Clean", "Book", "Cancel", "Renew", "Return", "Plan", "Collect")
THINGS = ("the tickets", "the contract", "the bicycle", "the kitchen", "the invoice", "flowers", "the report", "milk")
DETAILS = ("Before the weekend, together with Li Wei.", "Ask for the receipt.", "See the note on the fridge.")

SEED = 20_261_124
"""Every run measures the same rows."""


async def insert_todos(connection: asyncpg.Connection, owner: UUID, count: int) -> None:
    """Fill an account with believable todos and let PostgreSQL look at them, as autovacuum would by and by."""
    await connection.copy_records_to_table("todos", records=_rows(owner, count), columns=COLUMNS)
    await connection.execute("VACUUM (ANALYZE) todos")


async def copy_for_references(connection: asyncpg.Connection) -> None:
    """The same rows in a table of their own, with the one index that a page of the newest needs."""
    await connection.execute("CREATE SCHEMA reference")
    await connection.execute("CREATE TABLE reference.todos AS TABLE todos")
    await connection.execute("ALTER TABLE reference.todos ADD PRIMARY KEY (id)")
    await connection.execute("CREATE INDEX ON reference.todos (owner_id, created_at, id)")
    await connection.execute("VACUUM (ANALYZE) reference.todos")
    # What was written is flushed now, not by a checkpoint in the middle of a measurement.
    await connection.execute("CHECKPOINT")


def _rows(owner: UUID, count: int) -> Iterator[tuple[object, ...]]:
    """`count` todos, a minute apart, the last created an hour ago."""
    dice = random.Random(SEED)
    first = datetime.now(UTC) - timedelta(minutes=count + 60)
    for number in range(count):
        created = first + timedelta(minutes=number, microseconds=dice.randrange(60_000_000))
        title = f"{dice.choice(VERBS)} {dice.choice(THINGS)} {dice.randrange(10_000)}"
        description = dice.choice(DETAILS) if dice.random() < 0.5 else None
        due = created + timedelta(hours=dice.randrange(1, 1_000)) if dice.random() < 0.6 else None
        completed = created + timedelta(hours=1) if dice.random() < 0.3 else None
        yield (
            _uuid7(created, dice),
            owner,
            title,
            description,
            due,
            completed,
            created,
            completed or created,
            2 if completed else 1,
        )


def _uuid7(at: datetime, dice: random.Random) -> UUID:
    """A UUIDv7 of that instant (RFC 9562, section 5.7): the API's own keys are made of the present only."""
    milliseconds = int(at.timestamp() * 1_000)
    return UUID(int=milliseconds << 80 | 7 << 76 | dice.getrandbits(12) << 64 | 2 << 62 | dice.getrandbits(62))
