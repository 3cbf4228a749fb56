"""The last look: checks just before sending that a delivery is still wanted."""

from todo_core.reminders.dispatch import Delivery, Dispatch
from todo_worker.batches import Batches
from todo_worker.channel import NotWanted, outage_fails

_MOST_AT_ONCE = 200


class LastLook:
    """Checks in the database, with one statement for all deliveries that are about to be sent.

    The lease has read the todo already, but a burst, a slow network or a process that stood still may lie in between.
    A reminder of a todo completed after this check still arrives: SMTP and HTTP have no transaction with ours.
    """

    def __init__(self, dispatch: Dispatch, send_seconds: float) -> None:
        self._batches = Batches(dispatch.still_wanted, most=_MOST_AT_ONCE, seconds=send_seconds * 0.9)

    async def close(self) -> None:
        """Cancel the running batch."""
        await self._batches.close()

    async def at(self, delivery: Delivery) -> None:
        """Check one delivery.

        Raises:
            NotWanted: the delivery must not be sent.
            Failed: the database did not answer.
        """
        with outage_fails():
            wanted = await self._batches.ask(delivery)
        if not wanted:
            raise NotWanted
