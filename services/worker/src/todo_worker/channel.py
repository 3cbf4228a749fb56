"""The interface of a channel, and the exceptions that its `send` raises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from todo_core.database import is_outage
from todo_core.errors import Unavailable
from todo_core.reminders.dispatch import Delivery


class Failed(Exception):
    """The attempt failed; another attempt may succeed.

    `reason` is kept with the delivery and logged, so it names no person, address or URL.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Undeliverable(Failed):
    """The delivery failed for good: no further attempt can succeed."""


class NotTried(Failed):
    """A step before sending failed, so nothing was sent. It tells nothing about the receiver."""


class NotWanted(Exception):
    """The delivery must not be sent: its todo was completed, moved or deleted, or another worker has its lease."""


@contextmanager
def outage_fails() -> Iterator[None]:
    """Turn a database outage in the block into a failed attempt. Any other error is a defect and passes through."""
    try:
        yield
    except Exception as error:
        if is_outage(error) or isinstance(error, Unavailable):
            raise NotTried("the database did not answer") from error
        raise


class Channel(Protocol):
    """Sends deliveries in one way: by mail, to the inbox, by webhook.

    A group bot or Web Push would be another channel: the claim statement finds its endpoints in the database, and the
    delivery carries the data that it sends.
    """

    name: str
    """The channel's name, as in `deliveries.channel`."""
    slots: int
    """The largest number of deliveries under way at once in one process."""
    separate_receivers: bool
    """True if each endpoint is a receiver of its own, which may hang while others answer."""

    async def open(self) -> None:
        """Prepare to send. It must not need a running database, Redis or receiver: a worker starts without them."""

    async def close(self) -> None:
        """Close connections and cancel running work."""

    async def send(self, delivery: Delivery) -> None:
        """Send one delivery. Once this returns, the delivery counts as sent.

        It may be cancelled at any point, when its time limit is reached. It may be called again for the same delivery,
        here or in another process: after any failure, and after a success whose outcome could not be written.

        Raises:
            NotWanted: the delivery was not sent and must not be.
            Undeliverable: another attempt would be useless.
            Exception: anything else; it will be tried again.
        """
