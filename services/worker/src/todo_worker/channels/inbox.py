"""The inbox channel: inserts a notification, and notifies the streams that are open."""

from collections.abc import Sequence

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from todo_core.inbox.repository import Inboxes, Leased
from todo_core.reminders.dispatch import Delivery
from todo_worker.batches import Batches
from todo_worker.channel import NotWanted, outage_fails

_MOST_AT_ONCE = 100
_PUBLISH_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class Bell:
    """Publishes to API processes, over Redis, that an inbox has a new row. A message may be lost: streams also poll."""

    def __init__(self, redis: Redis, key_prefix: str) -> None:
        self._redis = redis
        self._key_prefix = key_prefix
        self._batches = Batches(self._publish, most=_MOST_AT_ONCE, seconds=_PUBLISH_SECONDS)

    async def ring(self, account_id: str, seq: int) -> None:
        """Publish the inbox's new sequence number."""
        try:
            await self._batches.ask((account_id, seq))
        except (RedisError, OSError, TimeoutError) as error:
            _log.debug("bell_unheard", reason=type(error).__name__)

    async def close(self) -> None:
        """Close the connections."""
        await self._batches.close()
        await self._redis.aclose()

    async def _publish(self, rings: Sequence[tuple[str, int]]) -> Sequence[None]:
        # One round trip for all, and one message for each account: readers look for all up to the highest number.
        highest: dict[str, int] = {}
        for account_id, seq in rings:
            highest[account_id] = max(seq, highest.get(account_id, 0))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for account_id, seq in highest.items():
                pipeline.publish(f"{self._key_prefix}:inbox:{account_id}", orjson.dumps({"seq": seq}))
            await pipeline.execute()
        return [None] * len(rings)


class InboxChannel:
    """Adds a notification to the account's inbox: one for each delivery, however often it is sent."""

    name = "inbox"
    separate_receivers = False

    def __init__(self, inboxes: Inboxes, bell: Bell, slots: int, send_seconds: float) -> None:
        self.slots = slots
        self._batches = Batches(inboxes.announce, most=_MOST_AT_ONCE, seconds=send_seconds * 0.9)
        self._inboxes = inboxes
        self._bell = bell

    async def open(self) -> None:
        """Do nothing: the connections are opened when needed."""

    async def close(self) -> None:
        """Cancel the running batch."""
        await self._batches.close()

    async def send(self, delivery: Delivery) -> None:
        """Insert the notification, in one statement with others; the bell rings after the commit."""
        leased = Leased(delivery.id, delivery.fence, delivery.account_id)
        with outage_fails():
            announced = await self._batches.ask(leased)
            if announced.passed_over:
                (announced,) = await self._inboxes.announce([leased], wait=True)
        if not announced.wanted:
            raise NotWanted
        if announced.seq is not None:
            await self._bell.ring(delivery.account_id, announced.seq)
