"""The health of webhooks: since when one has failed, and when it is switched off for that."""

from datetime import timedelta

from todo_core.database import StatementPool

_FAILED = "UPDATE webhooks SET failing_since = now() WHERE id = $1 AND failing_since IS NULL RETURNING id"
_RECOVERED = "UPDATE webhooks SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL RETURNING id"

# One statement, so that a webhook is never switched off without its notice. Deliveries that are leased at this moment
# are left out: the next lease sees that they are not wanted. The account is locked first, as when it is deleted.
# The notice's text is the webhook's URL.
_SWITCH_OFF = """
WITH owner AS MATERIALIZED (
    SELECT a.id FROM webhooks w JOIN accounts a ON a.id = w.account_id WHERE w.id = $1 FOR KEY SHARE OF a
), off AS (
    UPDATE webhooks w SET active = false, disabled_at = now()
    FROM owner
    WHERE w.id = $1 AND w.account_id = owner.id AND w.active
      AND ($2::interval IS NULL OR w.failing_since <= now() - $2::interval)
    RETURNING w.id, w.account_id, w.url
), waiting AS (
    SELECT d.id FROM deliveries d JOIN off ON d.endpoint_id = off.id
    WHERE d.channel = 'webhook' AND d.state = 'pending'
    ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
), cancelled AS (
    UPDATE deliveries d SET state = 'cancelled', settled_at = now(), lease_until = NULL
    FROM waiting WHERE d.id = waiting.id
    RETURNING d.id
), counter AS (
    INSERT INTO inboxes AS i (account_id, last_seq) SELECT account_id, 1 FROM off
    ON CONFLICT (account_id) DO UPDATE SET last_seq = i.last_seq + 1
    RETURNING account_id, last_seq
)
INSERT INTO notifications (id, account_id, seq, kind, title)
SELECT gen_random_uuid(), account_id, counter.last_seq, 'webhook_disabled', off.url
FROM off JOIN counter USING (account_id)
RETURNING seq
"""


class WebhookHealth:
    """Runs the worker's statements on webhooks, on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def failed(self, webhook_id: str, *, disable_after: timedelta) -> int | None:
        """Record a failed attempt, and switch the webhook off if none has succeeded for `disable_after`.

        Returns:
            the number of the notice in its owner's inbox, if it was switched off.
        """
        await self._statements.fetchrow(_FAILED, webhook_id)
        return await self._switch_off(webhook_id, disable_after)

    async def gone(self, webhook_id: str) -> int | None:
        """Switch a webhook off at once: it answered 410.

        Returns:
            the number of the notice in its owner's inbox, if it was still on.
        """
        return await self._switch_off(webhook_id, None)

    async def recovered(self, webhook_id: str) -> None:
        """Record a successful attempt."""
        await self._statements.fetchrow(_RECOVERED, webhook_id)

    async def _switch_off(self, webhook_id: str, failing_for: timedelta | None) -> int | None:
        row = await self._statements.fetchrow(_SWITCH_OFF, webhook_id, failing_for)
        return None if row is None else row["seq"]
