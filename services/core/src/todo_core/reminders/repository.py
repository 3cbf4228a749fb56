"""Every statement that the owner of a todo causes on its reminders, in the transaction of the change."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from todo_core.database import Statements
from todo_core.reminders.models import RemindedTodo
from todo_core.reminders.plan import Plan, PlannedReminder
from todo_core.reminders.schedule import Offset, QuietHours

_COLUMNS = "before_days, before_seconds, at, remind_at, state, occurrence, claimed_at, id"
"""In the order of `PlannedReminder`."""
_SETTINGS = """
SELECT a.timezone, coalesce(p.default_reminders, '{PT0S}') AS default_reminders, p.quiet_start, p.quiet_end
FROM accounts a LEFT JOIN preferences p ON p.account_id = a.id WHERE a.id = $1
"""
# One row for each reminder, or one with nulls. Locked oldest first, as by every other statement.
_SETTINGS_AND_REMINDERS = f"""
WITH reminder AS MATERIALIZED (
    SELECT {_COLUMNS} FROM reminders WHERE account_id = $1 AND todo_id = $2 ORDER BY id FOR UPDATE
)
SELECT reminder.*, settings.* FROM ({_SETTINGS}) settings LEFT JOIN reminder ON true ORDER BY reminder.id
"""  # noqa: S608 - constants
_SAVE = f"""
INSERT INTO reminders (account_id, todo_id, {_COLUMNS})
SELECT $1, $2, * FROM unnest(
    $3::int[], $4::int[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::int[], $9::timestamptz[], $10::uuid[]
)
ON CONFLICT (id) DO UPDATE SET remind_at = excluded.remind_at, state = excluded.state,
    occurrence = excluded.occurrence, claimed_at = excluded.claimed_at
"""  # noqa: S608 - constants
_DELETE = "DELETE FROM reminders WHERE account_id = $1 AND id = ANY($2::uuid[])"
# Locked in the order that every other statement locks them in.
_CANCEL_DELIVERIES = """
WITH waiting AS MATERIALIZED (
    SELECT id FROM deliveries WHERE reminder_id = ANY($1::uuid[]) AND state = 'pending' ORDER BY id FOR UPDATE
)
UPDATE deliveries SET state = 'cancelled', settled_at = now() WHERE id IN (SELECT id FROM waiting)
"""
_LOCK_SCHEDULED = """
SELECT r.before_days, r.before_seconds, r.at, r.remind_at, r.state, r.occurrence, r.claimed_at, r.id,
       t.due_at
FROM reminders r JOIN todos t ON t.id = r.todo_id
WHERE r.account_id = $1 AND r.state = 'scheduled' ORDER BY r.id FOR UPDATE OF r
"""
_MOVE = """
UPDATE reminders r SET remind_at = moved.remind_at FROM unnest($2::uuid[], $3::timestamptz[]) AS moved (id, remind_at)
WHERE r.account_id = $1 AND r.id = moved.id
"""
_WITH_DEFAULTS = """
SELECT id, due_at, completed, own_reminders FROM todos
WHERE owner_id = $1 AND due_at IS NOT NULL AND NOT completed AND NOT own_reminders
"""
_OF_TODO = f"""
SELECT {_COLUMNS} FROM reminders WHERE account_id = $1 AND todo_id = $2 ORDER BY remind_at NULLS LAST, id
"""  # noqa: S608 - constants
_DELIVERIES = """
SELECT id, reminder_id, occurrence, channel, endpoint_id, state, attempts, last_error, settled_at FROM deliveries
WHERE reminder_id = ANY($1::uuid[]) ORDER BY occurrence, channel, id
"""
_FIELDS = 8


class ReminderRepository:
    """Reads and writes of one account's reminders."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def plan(self, owner_id: UUID) -> Plan:
        """The account's settings, as they are now."""
        (row,) = await self._statements.fetch(_SETTINGS, owner_id)
        return _plan(row)

    async def lock(self, owner_id: UUID, todo_id: UUID | str) -> tuple[Plan, list[PlannedReminder]]:
        """The account's settings, and the todo's reminders, locked, oldest first."""
        rows = await self._statements.fetch(_SETTINGS_AND_REMINDERS, owner_id, todo_id)
        return _plan(rows[0]), [PlannedReminder(*row[:_FIELDS]) for row in rows if row["id"] is not None]

    async def save(self, todo: RemindedTodo, reminders: Sequence[PlannedReminder]) -> None:
        """Insert those that are new, and write those that were moved."""
        columns = zip(*(_values(reminder) for reminder in reminders), strict=True)
        await self._statements.fetch(_SAVE, todo.owner_id, todo.id, *columns)

    async def delete(self, owner_id: UUID, reminder_ids: Collection[UUID | str]) -> None:
        """Remove reminders, and whatever of theirs is still on its way."""
        await self._statements.fetch(_DELETE, owner_id, reminder_ids)

    async def cancel_deliveries(self, reminder_ids: Collection[UUID | str]) -> None:
        """Cancel what of these reminders is still to be sent. One that is being sent at this moment still arrives."""
        await self._statements.fetch(_CANCEL_DELIVERIES, reminder_ids)

    async def lock_scheduled(self, owner_id: UUID) -> list[tuple[PlannedReminder, datetime | None]]:
        """All of the account's reminders that are still to come, locked, with their todos' due times."""
        rows = await self._statements.fetch(_LOCK_SCHEDULED, owner_id)
        return [(PlannedReminder(*row[:_FIELDS]), row["due_at"]) for row in rows]

    async def move(self, owner_id: UUID, moved: Sequence[tuple[UUID | str, datetime]]) -> None:
        """Write when reminders are due from now on."""
        await self._statements.fetch(_MOVE, owner_id, [each[0] for each in moved], [each[1] for each in moved])

    async def todos_with_default_reminders(self, owner_id: UUID) -> list[RemindedTodo]:
        """The account's open todos that have a due time and no reminders of their own."""
        rows = await self._statements.fetch(_WITH_DEFAULTS, owner_id)
        return [RemindedTodo(row[0], owner_id, *row[1:]) for row in rows]

    async def with_deliveries(
        self, owner_id: UUID, todo_id: UUID | str
    ) -> list[tuple[PlannedReminder, list[asyncpg.Record]]]:
        """The todo's reminders and the deliveries of each, by time."""
        rows = await self._statements.fetch(_OF_TODO, owner_id, todo_id)
        grouped: dict[UUID | str, tuple[PlannedReminder, list[asyncpg.Record]]] = {
            row["id"]: (PlannedReminder(*row), []) for row in rows
        }
        for delivery in await self._statements.fetch(_DELIVERIES, list(grouped)) if grouped else ():
            grouped[delivery["reminder_id"]][1].append(delivery)
        return list(grouped.values())


def _plan(row: asyncpg.Record) -> Plan:
    quiet = None
    if row["quiet_start"] is not None and row["quiet_end"] is not None:
        quiet = QuietHours(row["quiet_start"], row["quiet_end"])
    return Plan(ZoneInfo(row["timezone"]), quiet, tuple(Offset.parse(text) for text in row["default_reminders"]))


def _values(reminder: PlannedReminder) -> tuple[object, ...]:
    return tuple(getattr(reminder, name) for name in _COLUMNS.split(", "))
