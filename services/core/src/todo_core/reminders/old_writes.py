"""Todos that a release without reminders wrote after the migration had passed them: their reminders are put right.

While an upgrade replaces one process after the other, the old ones still write, and know of no reminders. What they
did can be seen in the rows: an open todo that is due and has no reminder, one that was moved without its reminder.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.accounts.models import Account
from todo_core.database import Database
from todo_core.preferences.repository import PreferencesRepository
from todo_core.reminders.repository import ReminderRepository
from todo_core.reminders.service import ReminderService
from todo_core.todos.repository import TodoRepository

LOOK_BACK = timedelta(days=2)
"""How long ago a todo may have been written for a regular look to see it."""

# The walk is by the key, as in `purge`. What quiet hours or whole days have a part in is left to the rules: only a todo
# that could not be so by them is named here, or it would be looked at again every time.
_SUSPECTS = """
WITH batch AS MATERIALIZED (
    SELECT id, owner_id, due_at, completed, own_reminders, updated_at FROM todos WHERE id > $1 ORDER BY id LIMIT $2
), suspect AS (
    SELECT t.id, t.owner_id
    FROM batch t LEFT JOIN preferences p ON p.account_id = t.owner_id
    CROSS JOIN LATERAL (
        SELECT bool_or(r.state = 'scheduled') AS any_scheduled,
               bool_or(r.state = 'scheduled' AND r.at IS NULL) AS scheduled,
               bool_or(r.before_days IS NOT NULL) AS planned,
               bool_or(
                   r.before_days = 0
                   AND (r.state = 'scheduled' OR t.due_at - make_interval(secs => r.before_seconds) > now())
                   AND (r.state = 'cancelled'
                        OR r.remind_at IS DISTINCT FROM t.due_at - make_interval(secs => r.before_seconds))
               ) AS misplaced
        FROM reminders r WHERE r.todo_id = t.id
    ) has
    WHERE ($3::interval IS NULL OR t.updated_at > now() - $3::interval)
      AND CASE
          WHEN t.completed THEN has.any_scheduled
          WHEN t.due_at IS NULL THEN has.scheduled
          ELSE (has.misplaced AND p.quiet_start IS NULL)
               OR (has.planned IS NOT TRUE AND t.due_at > now() AND NOT t.own_reminders
                   AND coalesce(cardinality(p.default_reminders), 1) > 0)
      END
)
SELECT (SELECT max(id::text) FROM batch) AS last,
       array(SELECT owner_id FROM suspect ORDER BY id) AS owners, array(SELECT id FROM suspect ORDER BY id) AS todos
"""
_START = "00000000-0000-0000-0000-000000000000"
_BATCH = 2_000


class OldWrites:
    """Finds and mends them. Safe to run at any time, any number at once: what is in order is not touched."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mend(self, look_back: timedelta | None = LOOK_BACK) -> int:
        """Put the reminders right of todos that were written within that time (None: ever); how many todos it were."""
        last: str | None = _START
        mended = 0
        while last is not None:
            row = await self._database.statements.fetchrow(_SUSPECTS, last, _BATCH, look_back)
            last = None if row is None else row["last"]
            for owner_id, todo_id in () if row is None else zip(row["owners"], row["todos"], strict=True):
                async with self._database.sessions() as session, session.begin():
                    mended += await self._follow(session, UUID(owner_id), UUID(todo_id))
        return mended

    @staticmethod
    async def _follow(session: AsyncSession, owner_id: UUID, todo_id: UUID) -> bool:
        """As every change does: the account first, then the todo, then its reminders."""
        account = select(col(Account.id)).where(col(Account.id) == owner_id).with_for_update(key_share=True)
        if (await session.execute(account)).first() is None:
            return False
        todo = await TodoRepository(session).lock(owner_id, todo_id)
        if todo is None:
            return False
        now = (await session.execute(select(func.clock_timestamp()))).scalar_one()
        rules = ReminderService(ReminderRepository(session), PreferencesRepository(session))
        await rules.follow(todo, now)
        return True
