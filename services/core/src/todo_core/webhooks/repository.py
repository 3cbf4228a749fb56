"""The statements for requests of a webhook's owner."""

from datetime import timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from todo_core.accounts.tokens import Principal
from todo_core.database import StatementPool
from todo_core.webhooks.models import Webhook

_WEBHOOKS = """
SELECT w.id, w.url, w.active, w.failing_since, w.disabled_at, w.previous_secret_until, w.created_at
FROM accounts a LEFT JOIN webhooks w ON w.account_id = a.id
WHERE a.id = $1 AND a.auth_version = $2
ORDER BY w.id
"""


class WebhookReads:
    """Reads that need no transaction. Each checks in its one statement that the account accepts the token."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def of(self, owner: Principal) -> list[asyncpg.Record] | None:
        """Return the account's webhooks, the oldest first; None if the account is gone."""
        rows = await self._statements.fetch(_WEBHOOKS, owner.id, owner.auth_version)
        if not rows:
            return None
        return [] if rows[0]["id"] is None else rows


class WebhookRepository:
    """Reads and writes webhooks in the request's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def count(self, owner_id: UUID) -> int:
        """Return the number of the account's webhooks."""
        statement = select(func.count()).where(col(Webhook.account_id) == owner_id)
        return (await self._session.execute(statement)).scalar_one()

    async def lock(self, owner_id: UUID, webhook_id: UUID) -> Webhook | None:
        """Return the owner's webhook, locked until the transaction ends."""
        statement = (
            select(Webhook).where(col(Webhook.account_id) == owner_id, col(Webhook.id) == webhook_id).with_for_update()
        )
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def save(self, webhook: Webhook) -> None:
        """Insert or update the webhook."""
        self._session.add(webhook)
        await self._session.flush()
        await self._session.refresh(webhook)

    async def replace_secret(self, webhook: Webhook, secret: str, overlap: timedelta) -> None:
        """Sign with another secret from now on, and for the time `overlap` with the previous one as well."""
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
