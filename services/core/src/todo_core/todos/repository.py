"""Every statement on todos: the hot reads on plain connections, everything else in the request's transaction."""

from uuid import UUID

import asyncpg
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.accounts.tokens import Principal
from todo_core.database import StatementPool
from todo_core.paging import Place
from todo_core.todos.models import Todo
from todo_core.todos.queries import COLUMNS, ListQuery, Sort, page_parameters, page_statement

_ONE = (
    f"SELECT {', '.join('t.' + name for name in COLUMNS.split(', '))}"  # noqa: S608
    " FROM accounts a LEFT JOIN todos t ON t.owner_id = a.id AND t.id = $3"
    " WHERE a.id = $1 AND a.auth_version = $2"
)


class TodoReads:
    """The hot reads. Each checks in its one statement that the account still stands behind the token."""

    def __init__(self, reads: StatementPool) -> None:
        self._reads = reads

    async def page(self, owner: Principal, query: ListQuery, place: Place | None) -> list[asyncpg.Record] | None:
        """The rows after `place`, one more than `query.limit` if there are more; None if the account is gone.

        Each row has the columns of a todo and `sort_key`.
        """
        sort = Sort.of(query.sort)
        wanted = query.limit + 1
        rows: list[asyncpg.Record] = []
        if place is None or place.key is not None:
            found = await self._part(owner, query, sort, place, wanted, without_key=False)
            if found is None:
                return None
            rows = found
            place = None
        dated = query.due_before is not None or query.due_after is not None
        if sort.nullable and not dated and len(rows) < wanted:
            found = await self._part(owner, query, sort, place, wanted - len(rows), without_key=True)
            if found is None:
                return None
            rows += found
        return rows

    async def _part(
        self, owner: Principal, query: ListQuery, sort: Sort, place: Place | None, limit: int, *, without_key: bool
    ) -> list[asyncpg.Record] | None:
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
        return [] if rows[0]["id"] is None else rows

    async def one(self, owner: Principal, todo_id: UUID) -> asyncpg.Record | None:
        """The todo's columns, all null if there is no such todo of this owner; None if the account is gone."""
        return await self._reads.fetchrow(_ONE, owner.id, owner.auth_version, todo_id)


class TodoRepository:
    """Writes, by the models."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def save(self, todo: Todo) -> None:
        """Insert it, or write what changed."""
        self._session.add(todo)
        await self._session.flush()

    async def get(self, owner_id: UUID, todo_id: UUID) -> Todo | None:
        """The owner's todo."""
        statement = select(Todo).where(col(Todo.owner_id) == owner_id, col(Todo.id) == todo_id)
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def lock(self, owner_id: UUID, todo_id: UUID) -> Todo | None:
        """The owner's todo, locked until the transaction ends."""
        statement = select(Todo).where(col(Todo.owner_id) == owner_id, col(Todo.id) == todo_id).with_for_update()
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def delete(self, owner_id: UUID, todo_id: UUID) -> None:
        """Remove the owner's todo."""
        await self._session.execute(delete(Todo).where(col(Todo.owner_id) == owner_id, col(Todo.id) == todo_id))
