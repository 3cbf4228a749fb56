"""The last look at a delivery before it leaves: whether it is still wanted."""

from todo_core.reminders.dispatch import Delivery, Dispatch
from todo_worker.batches import Batches
from todo_worker.channel import NotWanted, outage_fails

_MOST_AT_ONCE = 200


class LastLook:
    """Asks the database, for all that are about to be sent with one statement.

    A lease read the todo already, but a burst, a slow network or a process that stood still may lie in between. What is
    completed after this look still arrives: SMTP and HTTP have no transaction with ours.
    """

    def __init__(self, dispatch: Dispatch, send_seconds: float) -> None:
        self._batches = Batches(dispatch.still_wanted, most=_MOST_AT_ONCE, seconds=send_seconds * 0.9)

    async def close(self) -> None:
        """End what is under way."""
        await self._batches.close()

    async def at(self, delivery: Delivery) -> None:
        """Look.

        Raises:
            NotWanted: it is not to be sent.
            Failed: the database did not answer, so that it is not known.
        """
        with outage_fails():
            wanted = await self._batches.ask(delivery)
        if not wanted:
            raise NotWanted
