"""Accounts with different channels, and their todos with one reminder each; some todos change meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import asyncpg

from tests.worker_kit import SECRET
from todo_core.accounts.tokens import Principal
from todo_core.database import Database, is_outage
from todo_core.errors import Unavailable
from todo_core.ids import new_id
from todo_core.todos.service import TodoNotFound, TodoService

ACCOUNTS = 9
RETRY_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of an account: the inbox, its address, or one of its webhooks."""

    channel: str
    id: UUID
    name: str
    """The name in the ledger: the webhook's path, or the address."""


@dataclass
class PlannedTodo:
    """One todo, its planned change, and when that was made."""

    number: int
    owner: UUID
    endpoints: list[Endpoint]
    """The owner's."""
    due: float
    change: Literal["complete", "move", "delete"] | None = None
    change_at: float = 0.0
    moved_to: float = 0.0
    done: float = 0.0
    """The time at which its change was known to be committed."""
    todo_id: UUID = field(default_factory=new_id)
    reminder_id: UUID = field(default_factory=new_id)


async def insert_accounts(sql: asyncpg.Connection, ports: list[int]) -> list[tuple[UUID, list[Endpoint]]]:
    """Insert the accounts: every third without e-mail, with none to three webhooks each, on all receivers in turn."""
    accounts = []
    for number in range(ACCOUNTS):
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
            url = f"http://127.0.0.1:{ports[(number + turn) % len(ports)]}{path}"
            insert = "INSERT INTO webhooks (id, account_id, url, secret) VALUES ($1, $2, $3, $4)"
            await sql.execute(insert, webhook_id, account_id, url, SECRET)
            endpoints.append(Endpoint("webhook", webhook_id, path))
        accounts.append((account_id, endpoints))
    return accounts


def plan_todos(
    accounts: list[tuple[UUID, list[Endpoint]]],
    draw: random.Random,
    *,
    count: int,
    start: float,
    seconds: float,
    bursts: list[float],
) -> list[PlannedTodo]:
    """Draw the due times: a quarter in bursts, the others spread. One todo in twelve changes around its due time."""
    in_bursts = count // 4 // max(1, len(bursts))
    moments = [start + burst for burst in bursts for _ in range(in_bursts)]
    moments += [start + draw.uniform(0.5, seconds) for _ in range(count - len(moments))]
    todos = []
    for number, due in enumerate(sorted(moments)):
        todo = PlannedTodo(number, *draw.choice(accounts), due)
        if draw.random() < 1 / 12:
            todo.change = draw.choice(("complete", "move", "delete"))
            # Mostly before the due time; some just then, and some after.
            todo.change_at = max(start, due + draw.uniform(-8, 3))
            todo.moved_to = due + draw.uniform(6, 20) if todo.change == "move" else 0.0
        todos.append(todo)
    return todos


async def insert_todos(sql: asyncpg.Connection, todos: list[PlannedTodo]) -> None:
    """Insert all todos as `TodoService` would with the default reminder."""
    now = datetime.now(UTC)
    await sql.copy_records_to_table(
        "todos",
        columns=["id", "owner_id", "title", "due_at", "created_at", "updated_at"],
        records=[(todo.todo_id, todo.owner, f"todo {todo.number}", _instant(todo.due), now, now) for todo in todos],
    )
    await sql.copy_records_to_table(
        "reminders",
        columns=["id", "account_id", "todo_id", "before_days", "before_seconds", "remind_at", "state"],
        records=[(todo.reminder_id, todo.owner, todo.todo_id, 0, 0, _instant(todo.due), "scheduled") for todo in todos],
    )
    await sql.execute("ANALYZE")


async def change_todos(database: Database, todos: list[PlannedTodo]) -> None:
    """Make all changes, each at its time, through the product's own service, whatever is broken."""
    async with asyncio.TaskGroup() as group:
        for todo in sorted((todo for todo in todos if todo.change), key=lambda todo: todo.change_at):
            await asyncio.sleep(max(0.0, todo.change_at - time.time()))
            group.create_task(_change_until_committed(database, todo))


async def _change_until_committed(database: Database, todo: PlannedTodo) -> None:
    """Retry over outages: each change may be made twice with the same result."""
    while not todo.done:
        try:
            await _change(database, todo)
            todo.done = time.time()
        except TodoNotFound:  # the commit of an earlier attempt, whose answer was lost
            assert todo.change == "delete"
            todo.done = time.time()
        except Exception as error:
            if not (is_outage(error) or isinstance(error, Unavailable)):
                raise
            await asyncio.sleep(RETRY_SECONDS)


async def _change(database: Database, todo: PlannedTodo) -> None:
    async with database.changes.transaction() as transaction:
        todos, owner = TodoService(transaction), Principal(todo.owner, 1)
        if todo.change == "complete":
            await todos.complete(owner, todo.todo_id)
        elif todo.change == "move":
            await todos.update(owner, todo.todo_id, {"due_at": _instant(todo.moved_to)})
        else:
            await todos.delete(owner, todo.todo_id)


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
