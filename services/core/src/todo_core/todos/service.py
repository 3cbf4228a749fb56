"""The rules of todos."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from todo_core.accounts.tokens import Principal
from todo_core.database import Statements, Transaction
from todo_core.errors import NotFound, PreconditionFailed, Unauthenticated
from todo_core.paging import Place, decode_cursor, encode_cursor
from todo_core.reminders.models import RemindedTodo
from todo_core.reminders.plan import PlannedReminder
from todo_core.reminders.repository import ReminderRepository
from todo_core.reminders.service import ReminderService
from todo_core.todos.models import DEFAULTS, WRITTEN
from todo_core.todos.queries import ListQuery, Sort
from todo_core.todos.repository import TodoReads, TodoRepository

_CHANGING = (*WRITTEN, "completed_at")
"""What makes another version of a todo."""


class TodoNotFound(NotFound):
    """There is no such todo, or it is someone else's."""

    code = "todo_not_found"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows with a todo's columns, and the cursor of the next page if there is one."""

    rows: list[asyncpg.Record]
    next_cursor: str | None
    version: str
    """The list's, as `AccountReads.list_version` has it."""


class TodoBrowser:
    """Reads. They need no transaction, and are where most of the load is: no ORM on this path."""

    def __init__(self, statements: Statements) -> None:
        self._reads = TodoReads(statements)
        self._reminders = ReminderService(ReminderRepository(statements))

    async def page(self, owner: Principal, query: ListQuery, cursor: str | None) -> Page:
        """One page of the owner's todos.

        Raises:
            Invalid: the cursor is not one of this query.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        sort = Sort.of(query.sort)
        place = None if cursor is None else decode_cursor(query.canonical, cursor, key_is_instant=sort.key_is_instant)
        found = await self._reads.page(owner, query, place)
        if found is None:
            raise Unauthenticated
        rows, version = found
        if len(rows) <= query.limit:
            return Page(rows, None, version)
        last = rows[query.limit - 1]
        return Page(
            rows[: query.limit], encode_cursor(query.canonical, Place(last["sort_key"], UUID(last["id"]))), version
        )

    async def get(self, owner: Principal, todo_id: UUID) -> asyncpg.Record:
        """One of the owner's todos.

        Raises:
            TodoNotFound: there is no such todo, or it is someone else's.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        row = await self._reads.one(owner, todo_id)
        if row is None:
            raise Unauthenticated
        if row["id"] is None:
            raise TodoNotFound
        return row

    async def reminders(self, owner: Principal, todo_id: UUID) -> list[tuple[PlannedReminder, list[asyncpg.Record]]]:
        """The todo's reminders with their deliveries, by time. Raises as `get` does."""
        todo = await self.get(owner, todo_id)
        return await self._reminders.of_todo(_reminded(owner, todo, todo["own_reminders"]))


class TodoService:
    """Changes. The owner's account is locked first in each: its changes are ordered, and none can deadlock.

    `expected_versions` are those that the caller has seen (If-Match); None changes whatever is there.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._todos = TodoRepository(transaction)
        self._reminders = ReminderService(ReminderRepository(transaction))

    async def create(self, owner: Principal, fields: Mapping[str, Any]) -> asyncpg.Record:
        """Add a todo, with the reminders asked for or (None) the account's defaults.

        Args:
            owner: whose it is.
            fields: those of `TodoFields`, `completed` and `reminders`; what is left out takes its default.

        Raises:
            Invalid: a reminder is to be at an instant that has passed.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        specs = fields.get("reminders")
        written = {**DEFAULTS, **fields}
        # Nothing is planned where nothing is due: one statement is the whole change.
        alone = written["due_at"] is None and not specs
        todo = await self._todos.create(
            owner, written, completed=fields.get("completed", False), own_reminders=specs is not None, alone=alone
        )
        if todo is None:
            raise Unauthenticated
        if not alone:
            await self._reminders.plan_new(_reminded(owner, todo, specs is not None), specs, todo["created_at"])
        return todo

    async def update(
        self,
        owner: Principal,
        todo_id: UUID,
        changes: Mapping[str, Any],
        *,
        expected_versions: Collection[int] | None = None,
    ) -> asyncpg.Record:
        """Change what is given of `TodoFields`, `completed` and `reminders`; what is the same stays.

        A todo that was completed already keeps the time when it was. Its reminders follow in the same transaction.

        Raises:
            Invalid: a new reminder is to be at an instant that has passed.
            TodoNotFound: there is no such todo, or it is someone else's.
            PreconditionFailed: it is at another version than those expected.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        before = await self._lock(owner, todo_id, expected_versions)
        at = before["changed_at"]
        todo = dict(before) | {name: changes[name] for name in WRITTEN if name in changes}
        if changes.get("completed") is True and todo["completed_at"] is None:
            todo["completed_at"] = at
        elif changes.get("completed") is False:
            todo["completed_at"] = None
        if "reminders" in changes:
            todo["own_reminders"] = changes["reminders"] is not None
        after, has_reminders = before, True
        if any(todo[name] != before[name] for name in _CHANGING):
            after = await self._todos.write(owner, todo, version=before["version"] + 1, updated_at=at)
            has_reminders = after["has_reminders"]
        elif todo["own_reminders"] != before["own_reminders"]:
            await self._todos.write(owner, todo, version=before["version"], updated_at=before["updated_at"])
        reminded = _reminded(owner, after, todo["own_reminders"])
        if "reminders" in changes:
            await self._reminders.replace(reminded, changes["reminders"], at)
        elif any(after[name] != before[name] for name in ("due_at", "completed_at")) and (
            has_reminders or after["due_at"] is not None
        ):
            await self._reminders.follow(reminded, at)
        return after

    async def replace(
        self,
        owner: Principal,
        todo_id: UUID,
        fields: Mapping[str, Any],
        *,
        expected_versions: Collection[int] | None = None,
    ) -> asyncpg.Record:
        """Give a todo all its fields anew: what is left out takes its default. Raises as `update` does."""
        whole = {**DEFAULTS, "completed": False, "reminders": None, **fields}
        return await self.update(owner, todo_id, whole, expected_versions=expected_versions)

    async def snooze(self, owner: Principal, todo_id: UUID, until: datetime | timedelta) -> PlannedReminder:
        """Remind once more: at an instant, or so long from now.

        Raises:
            TodoNotFound: there is no such todo, or it is someone else's.
            Invalid: the instant has passed, or the todo is done.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        todo = await self._lock(owner, todo_id, None)
        at = todo["changed_at"]
        instant = at + until if isinstance(until, timedelta) else until
        return await self._reminders.snooze(_reminded(owner, todo, todo["own_reminders"]), instant, at)

    async def complete(self, owner: Principal, todo_id: UUID) -> asyncpg.Record:
        """Mark a todo as done. Raises as `update` does."""
        return await self.update(owner, todo_id, {"completed": True})

    async def reopen(self, owner: Principal, todo_id: UUID) -> asyncpg.Record:
        """Mark a todo as not done. Raises as `update` does."""
        return await self.update(owner, todo_id, {"completed": False})

    async def delete(
        self, owner: Principal, todo_id: UUID, *, expected_versions: Collection[int] | None = None
    ) -> None:
        """Remove a todo. Raises as `update` does."""
        await self._lock(owner, todo_id, expected_versions)
        await self._todos.delete(owner, todo_id)

    async def _lock(self, owner: Principal, todo_id: UUID, expected_versions: Collection[int] | None) -> asyncpg.Record:
        todo = await self._todos.lock(owner, todo_id)
        if todo is None:
            raise TodoNotFound if await self._todos.account_stands(owner) else Unauthenticated
        if expected_versions is not None and todo["version"] not in expected_versions:
            raise PreconditionFailed
        return todo


def _reminded(owner: Principal, todo: asyncpg.Record, own_reminders: bool) -> RemindedTodo:
    return RemindedTodo(todo["id"], owner.id, todo["due_at"], todo["completed"], own_reminders)
