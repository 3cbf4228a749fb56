"""Every statement that the owner of a todo causes on its reminders, in the request's transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Uuid, column, delete, func, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.database import Instant
from todo_core.reminders.models import Delivery, DeliveryState, RemindedTodo, Reminder, ReminderState

# What is read of todos. Their model is of a layer above.
_TODOS = table(
    "todos",
    column("id", Uuid()),
    column("owner_id", Uuid()),
    column("due_at", Instant()),
    column("completed", Boolean()),
    column("own_reminders", Boolean()),
)


class ReminderRepository:
    """Reads and writes of one account's reminders."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, reminders: Sequence[Reminder]) -> None:
        """Insert them."""
        self._session.add_all(reminders)
        await self._session.flush()

    async def save(self) -> None:
        """Write what was changed of those that were read."""
        await self._session.flush()

    async def lock_of_todo(self, owner_id: UUID, todo_id: UUID) -> list[Reminder]:
        """The todo's reminders, locked, oldest first."""
        statement = (
            select(Reminder)
            .where(col(Reminder.account_id) == owner_id, col(Reminder.todo_id) == todo_id)
            .order_by(col(Reminder.id))
            .with_for_update()
        )
        return list((await self._session.execute(statement)).scalars())

    async def lock_scheduled(self, owner_id: UUID) -> list[tuple[Reminder, datetime | None]]:
        """All of the account's reminders that are still to come, locked, each with its todo's due time."""
        statement = (
            select(Reminder, _TODOS.c.due_at)
            .join(_TODOS, _TODOS.c.id == col(Reminder.todo_id))
            .where(col(Reminder.account_id) == owner_id, col(Reminder.state) == ReminderState.SCHEDULED)
            .order_by(col(Reminder.id))
            .with_for_update(of=Reminder)
        )
        return [(reminder, due_at) for reminder, due_at in await self._session.execute(statement)]

    async def todos_with_default_reminders(self, owner_id: UUID) -> list[RemindedTodo]:
        """The account's open todos that have a due time and no reminders of their own."""
        statement = select(_TODOS.c.id, _TODOS.c.due_at).where(
            _TODOS.c.owner_id == owner_id,
            _TODOS.c.due_at.is_not(None),
            _TODOS.c.completed.is_(False),
            _TODOS.c.own_reminders.is_(False),
        )
        return [
            RemindedTodo(todo_id, owner_id, due_at, completed=False, own_reminders=False)
            for todo_id, due_at in await self._session.execute(statement)
        ]

    async def delete(self, owner_id: UUID, reminder_ids: Collection[UUID]) -> None:
        """Remove reminders, and whatever of theirs is still on its way."""
        await self._session.execute(
            delete(Reminder).where(col(Reminder.account_id) == owner_id, col(Reminder.id).in_(reminder_ids))
        )

    async def cancel_deliveries(self, reminder_ids: Collection[UUID]) -> None:
        """Cancel what of these reminders is still to be sent. One that is being sent at this moment still arrives."""
        # Locked in the order that every other statement locks them in.
        locked = (
            select(col(Delivery.id))
            .where(col(Delivery.reminder_id).in_(reminder_ids), col(Delivery.state) == DeliveryState.PENDING)
            .order_by(col(Delivery.id))
            .with_for_update()
        )
        ids = list((await self._session.execute(locked)).scalars())
        if ids:
            await self._session.execute(
                update(Delivery)
                .where(col(Delivery.id).in_(ids))
                .values(state=DeliveryState.CANCELLED, settled_at=func.now())
            )

    async def with_deliveries(self, owner_id: UUID, todo_id: UUID) -> list[tuple[Reminder, list[Delivery]]]:
        """The todo's reminders and the deliveries of each, by time."""
        reminders = (
            await self._session.execute(
                select(Reminder)
                .where(col(Reminder.account_id) == owner_id, col(Reminder.todo_id) == todo_id)
                .order_by(col(Reminder.remind_at).nulls_last(), col(Reminder.id))
            )
        ).scalars()
        grouped: dict[UUID, tuple[Reminder, list[Delivery]]] = {reminder.id: (reminder, []) for reminder in reminders}
        deliveries = await self._session.execute(
            select(Delivery)
            .where(col(Delivery.reminder_id).in_(grouped))
            .order_by(col(Delivery.occurrence), col(Delivery.channel), col(Delivery.id))
        )
        for delivery in deliveries.scalars():
            grouped[delivery.reminder_id][1].append(delivery)
        return list(grouped.values())

    async def database_now(self) -> datetime:
        """The database's clock: what is past is decided by it."""
        now: datetime = (await self._session.execute(select(func.clock_timestamp()))).scalar_one()
        return now
