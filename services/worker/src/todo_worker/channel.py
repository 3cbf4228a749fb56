"""What a way of telling a person has to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from todo_core.database import is_outage
from todo_core.errors import Unavailable
from todo_core.reminders.dispatch import Delivery


class Failed(Exception):
    """It did not arrive this time; another attempt makes sense.

    `reason` is kept with the delivery and logged, so it names no person, address or URL.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Undeliverable(Failed):
    """It will not arrive however often it is tried."""


class NotTried(Failed):
    """Nothing was sent: what stands before sending did not work. It says nothing of the receiver."""


class NotWanted(Exception):
    """It is not to be sent any more: its todo was completed, moved or deleted, or another worker has its lease."""


@contextmanager
def outage_fails() -> Iterator[None]:
    """A database that does not answer in the block is a failure of this attempt; anything else is a defect."""
    try:
        yield
    except Exception as error:
        if is_outage(error) or isinstance(error, Unavailable):
            raise NotTried("the database did not answer") from error
        raise


class Channel(Protocol):
    """One way of telling a person.

    A group bot or Web Push is one more of these: its endpoints are rows that the claim statement finds, and what it
    needs to send comes with the delivery.
    """

    name: str
    """As in `deliveries.channel`."""
    slots: int
    """How many may be under way at once in one process."""
    separate_receivers: bool
    """Whether each endpoint is a receiver of its own, which may hang while others answer."""

    async def open(self) -> None:
        """Get ready. Nothing has to answer yet: a worker starts while everything else is down."""

    async def close(self) -> None:
        """Let go of everything."""

    async def send(self, delivery: Delivery) -> None:
        """Tell the person. Once it returns, the delivery counts as sent.

        It may be cancelled at any point, when its time is up. It may be called again for the same delivery, here or in
        another process: after any failure, and after a success that could not be written down.

        Raises:
            NotWanted: it was not sent, and is not to be.
            Undeliverable: another attempt would be useless.
            Exception: anything else; it will be tried again.
        """
