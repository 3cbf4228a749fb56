"""What could not be delivered, for an operator: look, mend what was wrong, send again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from todo_core.database import StatementPool

_LIST = """
SELECT d.id, d.channel, d.due_at, d.attempts, d.settled_at, d.last_error, r.account_id
FROM deliveries d JOIN reminders r ON r.id = d.reminder_id
WHERE d.state = 'dead' ORDER BY d.settled_at DESC LIMIT $1
"""

# Its age starts anew, so that it is tried for a full day again. The id stays: a receiver knows a repeat by it.
_RETRY = """
UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = now(), created_at = now(), settled_at = NULL,
                      lease_until = NULL
WHERE state = 'dead' AND ($1::uuid[] IS NULL OR id = ANY ($1)) RETURNING id
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up."""

    id: str
    channel: str
    due_at: datetime
    attempts: int
    settled_at: datetime
    last_error: str | None
    account_id: str


class DeadLetters:
    """An operator's statements on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def list(self, limit: int) -> list[DeadLetter]:
        """The latest."""
        return [DeadLetter(**row) for row in await self._statements.fetch(_LIST, limit)]

    async def retry(self, delivery_ids: Collection[str] | None) -> int:
        """Put those (None: all) back on their way, for another day; how many there were."""
        ids = None if delivery_ids is None else [*delivery_ids]
        return len(await self._statements.fetch(_RETRY, ids))
