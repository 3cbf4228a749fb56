"""Reads the final state from the database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

import asyncpg


@dataclass(frozen=True, slots=True)
class Row:
    """A delivery."""

    id: str
    reminder_id: UUID
    occurrence: int
    channel: str
    endpoint_id: UUID
    state: str
    attempts: int
    due_at: float
    settled_at: float | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """A notification in an inbox."""

    delivery_id: str
    todo_id: UUID
    account_id: UUID
    created_at: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The rows of one run."""

    deliveries: list[Row]
    told: list[Told]
    reminders: dict[UUID, tuple[str, int]]
    """State and occurrence by reminder."""

    def states(self) -> Counter[str]:
        """Return the number of deliveries in each state."""
        return Counter(row.state for row in self.deliveries)


async def collect(sql: asyncpg.Connection) -> Evidence:
    """Read the rows."""
    deliveries = await sql.fetch(
        "SELECT id::text, reminder_id, occurrence, channel, endpoint_id, state, attempts,"
        " extract(epoch FROM due_at)::float8 AS due_at, extract(epoch FROM settled_at)::float8 AS settled_at,"
        " last_error FROM deliveries"
    )
    told = await sql.fetch(
        "SELECT delivery_id::text, todo_id, account_id, extract(epoch FROM created_at)::float8 AS created_at"
        " FROM notifications WHERE kind = 'reminder'"
    )
    reminders = await sql.fetch("SELECT id, state, occurrence FROM reminders")
    return Evidence(
        [Row(**row) for row in deliveries],
        [Told(**row) for row in told],
        {row["id"]: (row["state"], row["occurrence"]) for row in reminders},
    )


async def unfinished(sql: asyncpg.Connection) -> int:
    """Return the number of reminders and deliveries without a final state."""
    count: int = await sql.fetchval(
        "SELECT (SELECT count(*) FROM reminders WHERE state = 'scheduled')"
        " + (SELECT count(*) FROM deliveries WHERE state = 'pending')"
    )
    return count
