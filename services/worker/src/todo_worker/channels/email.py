"""E-mail, to addresses whose owners have proved them: the lease says whether they have."""

from todo_core.reminders.dispatch import Delivery
from todo_worker.channels.last_look import LastLook
from todo_worker.mailer import Mailer
from todo_worker.mails import MailWriter


class EmailChannel:
    """One mail for a delivery. SMTP can do no better than at least once: the Message-ID tells a repeat."""

    name = "email"
    separate_receivers = False

    def __init__(self, mailer: Mailer, writer: MailWriter, last_look: LastLook, slots: int) -> None:
        self.slots = slots
        self._mailer = mailer
        self._writer = writer
        self._last_look = last_look

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Hang up."""
        await self._last_look.close()
        await self._mailer.close()

    async def send(self, delivery: Delivery) -> None:
        """Write it and hand it over; the last look comes when the server is listening."""
        async with self._mailer.connection() as connection:
            await self._last_look.at(delivery)
            await connection.send(self._writer.reminder(delivery), delivery.email)
