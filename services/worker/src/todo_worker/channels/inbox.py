"""The inbox: a row that stays, and a hint to whoever is reading at this moment."""

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from todo_core.database import is_outage
from todo_core.errors import Unavailable
from todo_core.inbox.repository import Inboxes
from todo_core.reminders.dispatch import Delivery
from todo_worker.channel import Failed

_log = structlog.get_logger(__name__)


class Bell:
    """Tells API processes, over Redis, that an inbox has something new. It may be lost: readers look by themselves."""

    def __init__(self, redis: Redis, key_prefix: str) -> None:
        self._redis = redis
        self._key_prefix = key_prefix

    async def ring(self, account_id: str, seq: int) -> None:
        """Say that the inbox has come to this number."""
        try:
            await self._redis.publish(f"{self._key_prefix}:inbox:{account_id}", orjson.dumps({"seq": seq}))
        except (RedisError, OSError, TimeoutError) as error:
            _log.debug("bell_unheard", reason=type(error).__name__)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()


class InboxChannel:
    """A notification in the account's inbox: once for each delivery, however often it is sent."""

    name = "inbox"
    separate_receivers = False

    def __init__(self, inboxes: Inboxes, bell: Bell, slots: int) -> None:
        self.slots = slots
        self._inboxes = inboxes
        self._bell = bell

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def send(self, delivery: Delivery) -> None:
        """Write it down; the bell rings after the commit."""
        try:
            seq = await self._add(delivery)
        except Exception as error:
            if is_outage(error) or isinstance(error, Unavailable):
                raise Failed("the database did not answer") from error
            raise
        if seq is not None:
            await self._bell.ring(delivery.account_id, seq)

    async def _add(self, delivery: Delivery) -> int | None:
        return await self._inboxes.add(
            account_id=delivery.account_id,
            kind="reminder",
            title=delivery.title,
            delivery_id=delivery.id,
            todo_id=delivery.todo_id,
            due_at=delivery.todo_due_at,
        )
