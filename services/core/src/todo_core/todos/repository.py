"""Every statement on todos: static, on plain connections, with just the columns that are answered with."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import asyncpg

from todo_core.accounts.repository import BEGIN_CHANGE, version_of
from todo_core.accounts.tokens import Principal
from todo_core.database import Statements, Transaction
from todo_core.ids import new_id
from todo_core.paging import Place
from todo_core.todos.models import WRITTEN
from todo_core.todos.queries import ListQuery, Sort, page_parameters, page_statement, qualified

# S608: nothing but names of columns goes into the texts.
_ONE = (
    f"SELECT {qualified('t')}, t.own_reminders"  # noqa: S608
    " FROM accounts a LEFT JOIN todos t ON t.owner_id = a.id AND t.id = $3"
    " WHERE a.id = $1 AND a.auth_version = $2"
)
# $1 and $2 are the principal's, as in `BEGIN_CHANGE`: the account is locked first, and its instant is the change's.
# Whoever waits for that lock goes on with the todo as the change before has left it: PostgreSQL looks again at a row
# that is locked or updated. Another row would be as old as the statement: hence what reminders need is read by a
# statement after this one.
_CREATE = (
    f"WITH change AS ({BEGIN_CHANGE})"  # noqa: S608
    f" INSERT INTO todos AS t (owner_id, created_at, updated_at, id, completed_at, own_reminders, {', '.join(WRITTEN)})"
    " SELECT id, changed_at, changed_at, $3, CASE WHEN $4::boolean THEN changed_at END, $5,"
    f" {', '.join(f'${number}' for number, _ in enumerate(WRITTEN, 6))} FROM change RETURNING {qualified('t')}"
)
_LOCK = (
    f"WITH change AS ({BEGIN_CHANGE})"  # noqa: S608
    f" SELECT {qualified('t')}, t.own_reminders, change.changed_at FROM change"
    " JOIN todos t ON t.owner_id = change.id AND t.id = $3 FOR UPDATE OF t"
)
_WRITE = (
    "UPDATE todos t SET version = $3, updated_at = $4, completed_at = $5, own_reminders = $6,"  # noqa: S608
    f" {', '.join(f'{name} = ${number}' for number, name in enumerate(WRITTEN, 7))} WHERE owner_id = $1 AND id = $2"
    f" RETURNING {qualified('t')}, EXISTS (SELECT FROM reminders WHERE todo_id = t.id) AS has_reminders"
)
_DELETE = "DELETE FROM todos WHERE owner_id = $1 AND id = $2"
_ACCOUNT_STANDS = "SELECT FROM accounts WHERE id = $1 AND auth_version = $2"


class TodoReads:
    """The hot reads. Each checks in its one statement that the account still stands behind the token."""

    def __init__(self, reads: Statements) -> None:
        self._reads = reads

    async def page(
        self, owner: Principal, query: ListQuery, place: Place | None
    ) -> tuple[list[asyncpg.Record], str] | None:
        """The rows after `place`, one more than `query.limit` if there are more, and the list's version.

        Each row has the columns of a todo and `sort_key`. None if the account is gone.
        """
        sort = Sort.of(query.sort)
        wanted = query.limit + 1
        rows: list[asyncpg.Record] = []
        version = None
        if place is None or place.key is not None:
            found = await self._part(owner, query, sort, place, wanted, without_key=False)
            if found is None:
                return None
            rows, version = found
            place = None
        dated = query.due_before is not None or query.due_after is not None
        if sort.nullable and not dated and len(rows) < wanted:
            found = await self._part(owner, query, sort, place, wanted - len(rows), without_key=True)
            if found is None:
                return None
            rows += found[0]
            version = version or found[1]  # the older: what is newer than its version is read once more, not too late
        return rows, version or ""

    async def _part(
        self, owner: Principal, query: ListQuery, sort: Sort, place: Place | None, limit: int, *, without_key: bool
    ) -> tuple[list[asyncpg.Record], str] | None:
        statement = page_statement(
            sort,
            limit,
            completed=query.completed,
            due_before=query.due_before is not None,
            due_after=query.due_after is not None,
            continues=place is not None,
            without_key=without_key,
        )
        parameters = page_parameters(query, place, without_key=without_key)
        rows = await self._reads.fetch(statement, owner.id, owner.auth_version, *parameters)
        if not rows:
            return None
        return [] if rows[0]["id"] is None else rows, version_of(rows[0])

    async def one(self, owner: Principal, todo_id: UUID) -> asyncpg.Record | None:
        """The todo's columns and `own_reminders`, all null if there is no such todo; None if the account is gone."""
        return await self._reads.fetchrow(_ONE, owner.id, owner.auth_version, todo_id)


class TodoRepository:
    """Writes, in the transaction of the change."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def create(
        self, owner: Principal, fields: Mapping[str, object], *, completed: bool, own_reminders: bool, alone: bool
    ) -> asyncpg.Record | None:
        """Lock the account and insert a todo; None if the account is gone. `alone`: that is the whole change."""
        send = self._transaction.alone if alone else self._transaction.fetchrow
        written = (fields[name] for name in WRITTEN)
        return await send(_CREATE, owner.id, owner.auth_version, new_id(), completed, own_reminders, *written)

    async def lock(self, owner: Principal, todo_id: UUID) -> asyncpg.Record | None:
        """Lock the account, then the todo; None if either is not there.

        The row has the columns of a todo, `own_reminders`, and `changed_at`: the instant of this change.
        """
        return await self._transaction.fetchrow(_LOCK, owner.id, owner.auth_version, todo_id)

    async def account_stands(self, owner: Principal) -> bool:
        """Whether the account is there, and the token good."""
        return await self._transaction.fetchrow(_ACCOUNT_STANDS, owner.id, owner.auth_version) is not None

    async def write(
        self, owner: Principal, todo: Mapping[str, object], *, version: int, updated_at: datetime
    ) -> asyncpg.Record:
        """Write the owner's locked todo. The row has the columns of a todo and `has_reminders`."""
        fixed = (version, updated_at, todo["completed_at"], todo["own_reminders"])
        written = (todo[name] for name in WRITTEN)
        row = await self._transaction.fetchrow(_WRITE, owner.id, todo["id"], *fixed, *written)
        assert row is not None  # noqa: S101 - it is locked
        return row

    async def delete(self, owner: Principal, todo_id: UUID) -> None:
        """Remove the owner's todo."""
        await self._transaction.fetch(_DELETE, owner.id, todo_id)
