"""The rules of todos."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from todo_core.accounts.repository import AccountRepository
from todo_core.accounts.tokens import Principal
from todo_core.errors import NotFound, PreconditionFailed, Unauthenticated
from todo_core.paging import Place, decode_cursor, encode_cursor
from todo_core.reminders.models import Delivery, RemindedTodo, Reminder
from todo_core.reminders.service import ReminderService, ReminderSpec
from todo_core.todos.models import Todo
from todo_core.todos.queries import ListQuery, Sort
from todo_core.todos.repository import TodoReads, TodoRepository


class TodoNotFound(NotFound):
    """There is no such todo, or it is someone else's."""

    code = "todo_not_found"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows with a todo's columns, and the cursor of the next page if there is one."""

    rows: list[asyncpg.Record]
    next_cursor: str | None


class TodoBrowser:
    """Reads. They need no transaction, and are where most of the load is: no ORM on this path."""

    def __init__(self, reads: TodoReads) -> None:
        self._reads = reads

    async def page(self, owner: Principal, query: ListQuery, cursor: str | None) -> Page:
        """One page of the owner's todos.

        Raises:
            Invalid: the cursor is not one of this query.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        sort = Sort.of(query.sort)
        place = None if cursor is None else decode_cursor(query.canonical, cursor, key_is_instant=sort.key_is_instant)
        rows = await self._reads.page(owner, query, place)
        if rows is None:
            raise Unauthenticated
        if len(rows) <= query.limit:
            return Page(rows, None)
        last = rows[query.limit - 1]
        return Page(rows[: query.limit], encode_cursor(query.canonical, Place(last["sort_key"], UUID(last["id"]))))

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


class TodoService:
    """Changes. The owner's account is locked first in each: its changes are ordered, and none can deadlock.

    `expected_versions` are those that the caller has seen (If-Match); None changes whatever is there.
    """

    def __init__(self, todos: TodoRepository, accounts: AccountRepository, reminders: ReminderService) -> None:
        self._todos = todos
        self._accounts = accounts
        self._reminders = reminders

    async def create(
        self,
        owner: Principal,
        *,
        title: str,
        description: str | None = None,
        due_at: datetime | None = None,
        completed: bool = False,
        reminders: Sequence[ReminderSpec] | None = None,
    ) -> Todo:
        """Add a todo, with the reminders asked for or (None) the account's defaults.

        Raises:
            Invalid: a reminder is to be at an instant that has passed.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        at = await self._begin(owner)
        todo = Todo(
            owner_id=owner.id,
            title=title,
            description=description,
            due_at=due_at,
            completed_at=at if completed else None,
            created_at=at,
            updated_at=at,
        )
        todo.own_reminders = reminders is not None
        await self._todos.save(todo)
        await self._reminders.plan_new(_reminded(todo), reminders, at)
        return todo

    async def update(
        self,
        owner: Principal,
        todo_id: UUID,
        changes: Mapping[str, Any],
        *,
        expected_versions: Collection[int] | None = None,
    ) -> Todo:
        """Change what is given of title, description, due_at, completed and reminders; what is the same stays.

        A todo that was completed already keeps the time when it was. Its reminders follow in the same transaction.

        Raises:
            Invalid: a new reminder is to be at an instant that has passed.
            TodoNotFound: there is no such todo, or it is someone else's.
            PreconditionFailed: it is at another version than those expected.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        at = await self._begin(owner)
        todo = await self._lock(owner, todo_id, expected_versions)
        before = (todo.title, todo.description, todo.due_at, todo.completed_at)
        planned_for = (todo.due_at, todo.completed_at)
        for field in ("title", "description", "due_at"):
            if field in changes:
                setattr(todo, field, changes[field])
        if changes.get("completed") is True and todo.completed_at is None:
            todo.completed_at = at
        elif changes.get("completed") is False:
            todo.completed_at = None
        if before != (todo.title, todo.description, todo.due_at, todo.completed_at):
            todo.updated_at = at
            todo.version += 1
            await self._todos.save(todo)
        if "reminders" in changes:
            todo.own_reminders = changes["reminders"] is not None
            await self._reminders.replace(_reminded(todo), changes["reminders"], at)
            await self._todos.save(todo)
        elif planned_for != (todo.due_at, todo.completed_at):
            await self._reminders.follow(_reminded(todo), at)
        return todo

    async def snooze(self, owner: Principal, todo_id: UUID, until: datetime | timedelta) -> Reminder:
        """Remind once more: at an instant, or so long from now.

        Raises:
            TodoNotFound: there is no such todo, or it is someone else's.
            Invalid: the instant has passed, or the todo is done.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        at = await self._begin(owner)
        todo = await self._lock(owner, todo_id, None)
        return await self._reminders.snooze(_reminded(todo), at + until if isinstance(until, timedelta) else until, at)

    async def reminders(self, owner: Principal, todo_id: UUID) -> list[tuple[Reminder, list[Delivery]]]:
        """The todo's reminders with their deliveries, by time.

        Raises:
            TodoNotFound: there is no such todo, or it is someone else's.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        if await self._accounts.get(owner) is None:
            raise Unauthenticated
        if await self._todos.get(owner.id, todo_id) is None:
            raise TodoNotFound
        return await self._reminders.of_todo(owner.id, todo_id)

    async def complete(self, owner: Principal, todo_id: UUID) -> Todo:
        """Mark a todo as done. Raises as `update` does."""
        return await self.update(owner, todo_id, {"completed": True})

    async def reopen(self, owner: Principal, todo_id: UUID) -> Todo:
        """Mark a todo as not done. Raises as `update` does."""
        return await self.update(owner, todo_id, {"completed": False})

    async def delete(
        self, owner: Principal, todo_id: UUID, *, expected_versions: Collection[int] | None = None
    ) -> None:
        """Remove a todo. Raises as `update` does."""
        await self._begin(owner)
        await self._lock(owner, todo_id, expected_versions)
        await self._todos.delete(owner.id, todo_id)

    async def _begin(self, owner: Principal) -> datetime:
        at = await self._accounts.begin_change(owner)
        if at is None:
            raise Unauthenticated
        return at

    async def _lock(self, owner: Principal, todo_id: UUID, expected_versions: Collection[int] | None) -> Todo:
        todo = await self._todos.lock(owner.id, todo_id)
        if todo is None:
            raise TodoNotFound
        if expected_versions is not None and todo.version not in expected_versions:
            raise PreconditionFailed
        return todo


def _reminded(todo: Todo) -> RemindedTodo:
    return RemindedTodo(todo.id, todo.owner_id, todo.due_at, todo.completed_at is not None, todo.own_reminders)
