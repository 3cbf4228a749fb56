"""The statements on preferences, except the worker's."""

from uuid import UUID

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.accounts.models import Account
from todo_core.accounts.tokens import Principal
from todo_core.database import StatementPool
from todo_core.preferences.models import Preferences

_PREFERENCES = """
SELECT coalesce(p.default_reminders, '{PT0S}') AS default_reminders, coalesce(p.inbox, true) AS inbox,
       coalesce(p.email, true) AS email, coalesce(p.webhook, true) AS webhook, p.quiet_start, p.quiet_end,
       a.timezone, a.email_verified_at
FROM accounts a LEFT JOIN preferences p ON p.account_id = a.id
WHERE a.id = $1 AND a.auth_version = $2
"""


class PreferencesReads:
    """Reads that need no transaction. Each checks in its one statement that the account accepts the token."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def preferences(self, owner: Principal) -> asyncpg.Record | None:
        """Return the account's preferences with its time zone; None if the account is gone."""
        return await self._statements.fetchrow(_PREFERENCES, owner.id, owner.auth_version)


class PreferencesRepository:
    """Reads and writes preferences in the request's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def with_timezone(self, account_id: UUID) -> tuple[Preferences, str]:
        """Return the account's preferences (the defaults, not stored, if it never set any) and its time zone."""
        row = (
            await self._session.execute(
                select(Preferences, col(Account.timezone))
                .select_from(Account)
                .join(Preferences, col(Preferences.account_id) == col(Account.id), isouter=True)
                .where(col(Account.id) == account_id)
            )
        ).one()
        preferences: Preferences | None = row[0]
        return preferences or Preferences(account_id=account_id), row[1]

    async def save(self, preferences: Preferences) -> None:
        """Insert or update the preferences."""
        self._session.add(preferences)
        await self._session.flush()
