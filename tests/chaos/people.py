"""Accounts with different channels, and their todos, each with one reminder."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import asyncpg

from tests.worker_kit import SECRET
from todo_core.ids import new_id

Change = Literal["complete", "move", "delete"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of an account: the inbox, its address, or one of its webhooks."""

    channel: str
    id: UUID
    name: str
    """The name in the ledger: the webhook's path, or the address."""


@dataclass
class Person:
    """One account."""

    id: UUID
    number: int
    endpoints: list[Endpoint]


@dataclass
class Planned:
    """One todo, its planned change, and when that was made."""

    number: int
    owner: Person
    todo_id: UUID
    reminder_id: UUID
    due: float
    change: Change | None = None
    change_at: float = 0.0
    moved_to: float = 0.0
    began: float | None = None
    """The time at which its change was first tried."""
    done: float | None = None
    """The time at which its change was known to be committed."""


@dataclass
class Town:
    """All accounts and todos."""

    people: list[Person] = field(default_factory=list)
    todos: list[Planned] = field(default_factory=list)

    def last_due(self) -> float:
        """Return the time of the last reminder."""
        return max(max(todo.due, todo.moved_to) for todo in self.todos)


def instant(at: float) -> datetime:
    """Convert a `time.time()` for PostgreSQL."""
    return datetime.fromtimestamp(at, UTC)


async def settle_people(sql: asyncpg.Connection, town: Town, ports: list[int], accounts: int = 9) -> None:
    """Insert the accounts: every third without e-mail, with none to three webhooks each, on all receivers in turn."""
    for number in range(accounts):
        account_id, address = new_id(), f"chaos{number}@example.com"
        verified = number % 3 != 2
        await sql.execute(
            "INSERT INTO accounts (id, username, username_key, email, email_key, password_hash, email_verified_at)"
            " VALUES ($1, $2, $2, $3, $3, 'x', CASE WHEN $4 THEN now() END)",
            account_id,
            f"chaos{number}",
            address,
            verified,
        )
        endpoints = [Endpoint("inbox", account_id, "inbox")]
        if verified:
            endpoints.append(Endpoint("email", account_id, address))
        for turn in range(number % 4):
            webhook_id, path = new_id(), f"/account{number}/hook{turn}"
            port = ports[(number + turn) % len(ports)]
            await sql.execute(
                "INSERT INTO webhooks (id, account_id, url, secret) VALUES ($1, $2, $3, $4)",
                webhook_id,
                account_id,
                f"http://127.0.0.1:{port}{path}",
                SECRET,
            )
            endpoints.append(Endpoint("webhook", webhook_id, path))
        town.people.append(Person(account_id, number, endpoints))


def plan_todos(
    town: Town, draw: random.Random, *, count: int, start: float, seconds: float, bursts: list[float]
) -> None:
    """Draw the due times: a quarter in bursts, the others spread. One todo in twelve changes around its due time."""
    in_bursts = count // 4 // max(1, len(bursts))
    moments = [start + burst for burst in bursts for _ in range(in_bursts)]
    moments += [start + draw.uniform(0.5, seconds) for _ in range(count - len(moments))]
    for number, due in enumerate(sorted(moments)):
        todo = Planned(number, draw.choice(town.people), new_id(), new_id(), due)
        if draw.random() < 1 / 12:
            todo.change = draw.choice(("complete", "move", "delete"))
            # Mostly before the due time; some just then, and some after.
            todo.change_at = max(start, due + draw.uniform(-8, 3))
            todo.moved_to = due + draw.uniform(6, 20) if todo.change == "move" else 0.0
        town.todos.append(todo)


async def insert_todos(sql: asyncpg.Connection, town: Town) -> None:
    """Insert all todos as `TodoService` would with the default reminder."""
    now = datetime.now(UTC)
    await sql.copy_records_to_table(
        "todos",
        columns=["id", "owner_id", "title", "due_at", "created_at", "updated_at"],
        records=[
            (todo.todo_id, todo.owner.id, f"todo {todo.number}", instant(todo.due), now, now) for todo in town.todos
        ],
    )
    await sql.copy_records_to_table(
        "reminders",
        columns=["id", "account_id", "todo_id", "before_days", "before_seconds", "remind_at", "state"],
        records=[
            (todo.reminder_id, todo.owner.id, todo.todo_id, 0, 0, instant(todo.due), "scheduled") for todo in town.todos
        ],
    )
    await sql.execute("ANALYZE")
