"""The mails that carry a link to prove an address with."""

from dataclasses import dataclass

from todo_core.accounts.links import VERIFICATION_LIFETIME
from todo_core.database import StatementPool

# It counts as sent before it is: a worker that dies in between has sent none, and never are there two. Those that
# waited longer than their link lives are left where they are. One whose account has another address by now, or has
# proved it, is taken and not sent.
_CLAIM = """
WITH unsent AS (
    SELECT id FROM email_verifications
    WHERE sent_at IS NULL AND used_at IS NULL AND created_at > now() - $2::interval
    ORDER BY created_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE email_verifications v SET sent_at = now() FROM unsent WHERE v.id = unsent.id
    RETURNING v.id, v.account_id, v.email
)
SELECT taken.id, taken.email, a.locale
FROM taken JOIN accounts a ON a.id = taken.account_id
WHERE a.email = taken.email AND a.email_verified_at IS NULL
"""
_WAITING = """
SELECT EXISTS (
    SELECT 1 FROM email_verifications
    WHERE sent_at IS NULL AND used_at IS NULL AND created_at > now() - $1::interval
) AS waiting
"""


@dataclass(frozen=True, slots=True)
class VerificationMail:
    """One mail to be sent at once; it is not tried again."""

    id: str
    email: str
    locale: str


class VerificationMails:
    """The worker's statements on them, on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def are_waiting(self) -> bool:
        """Tell whether mails are waiting, without a change."""
        row = await self._statements.fetchrow(_WAITING, VERIFICATION_LIFETIME)
        return row is not None and row["waiting"]

    async def claim(self, limit: int) -> list[VerificationMail]:
        """Take mails to be sent, the oldest first. They are never returned again."""
        rows = await self._statements.fetch(_CLAIM, limit, VERIFICATION_LIFETIME)
        return [VerificationMail(**row) for row in rows]
