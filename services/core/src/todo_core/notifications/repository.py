"""Every statement on preferences, webhooks and the proofs of e-mail addresses, but for the worker's."""

from datetime import timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.accounts.models import Account
from todo_core.accounts.tokens import Principal
from todo_core.database import StatementPool
from todo_core.notifications.models import EmailVerification, Preferences, Webhook

_PREFERENCES = """
SELECT coalesce(p.default_reminders, '{PT0S}') AS default_reminders, coalesce(p.inbox, true) AS inbox,
       coalesce(p.email, true) AS email, coalesce(p.webhook, true) AS webhook, p.quiet_start, p.quiet_end,
       a.timezone, a.email_verified_at
FROM accounts a LEFT JOIN preferences p ON p.account_id = a.id
WHERE a.id = $1 AND a.auth_version = $2
"""
_WEBHOOKS = """
SELECT w.id, w.url, w.active, w.failing_since, w.disabled_at, w.previous_secret_until, w.created_at
FROM accounts a LEFT JOIN webhooks w ON w.account_id = a.id
WHERE a.id = $1 AND a.auth_version = $2
ORDER BY w.id
"""
_TAKE_ADDRESS = text(
    "INSERT INTO mailed_addresses AS m (digest, mailed_at) VALUES (:digest, clock_timestamp())"
    " ON CONFLICT (digest) DO UPDATE SET mailed_at = excluded.mailed_at"
    " WHERE m.mailed_at <= excluded.mailed_at - CAST(:pause AS interval) RETURNING digest"
)
_ADDRESS_WAITS = text(
    "SELECT ceil(extract(epoch FROM mailed_at + CAST(:pause AS interval) - clock_timestamp()))::int"
    " FROM mailed_addresses WHERE digest = :digest"
)


class NotificationReads:
    """Reads that need no transaction. Each checks in its one statement that the account stands behind the token."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def preferences(self, owner: Principal) -> asyncpg.Record | None:
        """The account's preferences, with its time zone; None if the account is gone."""
        return await self._statements.fetchrow(_PREFERENCES, owner.id, owner.auth_version)

    async def webhooks(self, owner: Principal) -> list[asyncpg.Record] | None:
        """The account's webhooks, the oldest first; None if the account is gone."""
        rows = await self._statements.fetch(_WEBHOOKS, owner.id, owner.auth_version)
        if not rows:
            return None
        return [] if rows[0]["id"] is None else rows


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


class WebhookRepository:
    """Webhooks, in the request's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def count(self, owner_id: UUID) -> int:
        """How many the account has."""
        statement = select(func.count()).where(col(Webhook.account_id) == owner_id)
        return (await self._session.execute(statement)).scalar_one()

    async def lock(self, owner_id: UUID, webhook_id: UUID) -> Webhook | None:
        """The owner's webhook, locked until the transaction ends."""
        statement = (
            select(Webhook).where(col(Webhook.account_id) == owner_id, col(Webhook.id) == webhook_id).with_for_update()
        )
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def save(self, webhook: Webhook) -> None:
        """Insert it, or write what changed."""
        self._session.add(webhook)
        await self._session.flush()
        await self._session.refresh(webhook)

    async def replace_secret(self, webhook: Webhook, secret: str, overlap: timedelta) -> None:
        """Sign with another secret from now on, and for a while with the one before as well."""
        await self._session.execute(
            update(Webhook)
            .where(col(Webhook.id) == webhook.id)
            .values(secret=secret, previous_secret=webhook.secret, previous_secret_until=func.now() + overlap)
        )
        await self._session.refresh(webhook)

    async def delete(self, owner_id: UUID, webhook_id: UUID) -> None:
        """Remove the owner's webhook."""
        await self._session.execute(
            delete(Webhook).where(col(Webhook.account_id) == owner_id, col(Webhook.id) == webhook_id)
        )


class VerificationRepository:
    """Proofs of e-mail addresses, in the request's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def take_address(self, digest: str, pause: timedelta) -> int | None:
        """Note that an address is written to, unless it was within `pause`, by whichever account.

        Returns:
            None, or in how many seconds it may be.
        """
        if (await self._session.execute(_TAKE_ADDRESS, {"digest": digest, "pause": pause})).first() is not None:
            return None
        waits: int = (await self._session.execute(_ADDRESS_WAITS, {"digest": digest, "pause": pause})).scalar_one()
        return max(1, waits)

    async def add(self, account: Account) -> None:
        """Have the worker send a link to the account's address."""
        self._session.add(EmailVerification(account_id=account.id, email=account.email, email_key=account.email_key))
        await self._session.flush()

    async def lock(self, verification_id: UUID) -> tuple[EmailVerification, Account] | None:
        """A proof and its account, which is locked until the transaction ends."""
        statement = (
            select(EmailVerification, Account)
            .join(Account, col(Account.id) == col(EmailVerification.account_id))
            .where(col(EmailVerification.id) == verification_id)
            .with_for_update(of=Account)
        )
        row = (await self._session.execute(statement)).first()
        return None if row is None else (row[0], row[1])

    async def lock_account(self, account_id: UUID) -> Account | None:
        """An account that somebody holds a link of, locked until the transaction ends."""
        return (
            await self._session.execute(select(Account).where(col(Account.id) == account_id).with_for_update())
        ).scalar_one_or_none()

    async def settle(self, verification: EmailVerification) -> None:
        """Write down that the proof was given, and when it first was."""
        for statement in (
            update(Account)
            .where(col(Account.id) == verification.account_id)
            .values(email_verified_at=func.coalesce(col(Account.email_verified_at), func.now())),
            update(EmailVerification)
            .where(col(EmailVerification.id) == verification.id)
            .values(used_at=func.coalesce(col(EmailVerification.used_at), func.now())),
        ):
            await self._session.execute(statement)
