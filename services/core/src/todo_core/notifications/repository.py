"""Every statement on preferences, notifications, webhooks and the proofs of e-mail addresses."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.accounts.models import Account
from todo_core.notifications.models import Preferences


class PreferencesRepository:
    """How an account wants to be reminded."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def with_timezone(self, account_id: UUID) -> tuple[Preferences, str]:
        """The account's preferences (the defaults, not stored, if it never set any) and its time zone."""
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
        """Insert or update them."""
        self._session.add(preferences)
        await self._session.flush()
