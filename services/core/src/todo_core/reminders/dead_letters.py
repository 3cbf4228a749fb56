"""Dead letters, for an operator: list deliveries that were given up, and queue them again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from todo_core.database import StatementPool

_LIST = """
SELECT d.id, d.channel, d.due_at, d.attempts, d.settled_at, d.last_error, r.account_id
FROM deliveries d JOIN reminders r ON r.id = d.reminder_id
WHERE d.state = 'dead' ORDER BY d.settled_at DESC LIMIT $1
"""

# Its age starts at 0, so that it is tried for a full day again. The id stays: receivers recognise a repeat by it.
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
    """Runs an operator's statements on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def list(self, limit: int) -> list[DeadLetter]:
        """Return the latest dead letters."""
        return [DeadLetter(**row) for row in await self._statements.fetch(_LIST, limit)]

    async def retry(self, delivery_ids: Collection[str] | None) -> int:
        """Queue these (None: all) again, for another day; return how many there were."""
        ids = None if delivery_ids is None else [*delivery_ids]
        return len(await self._statements.fetch(_RETRY, ids))
