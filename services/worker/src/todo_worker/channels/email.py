"""The e-mail channel. The lease statement returns only deliveries to verified addresses."""

from todo_core.reminders.dispatch import Delivery
from todo_worker.channels.last_look import LastLook
from todo_worker.mailer import Mailer
from todo_worker.mails import MailWriter


class EmailChannel:
    """Sends one mail for a delivery. SMTP allows at-least-once delivery; a repeat has the same Message-ID."""

    name = "email"
    separate_receivers = False

    def __init__(self, mailer: Mailer, writer: MailWriter, last_look: LastLook, slots: int) -> None:
        self.slots = slots
        self._mailer = mailer
        self._writer = writer
        self._last_look = last_look

    async def open(self) -> None:
        """Do nothing: sessions are opened when needed."""

    async def close(self) -> None:
        """Close the mailer."""
        await self._last_look.close()
        await self._mailer.close()

    async def send(self, delivery: Delivery) -> None:
        """Write and send the mail; the last look follows the connection to the server."""
        async with self._mailer.connection() as connection:
            await self._last_look.at(delivery)
            await connection.send(self._writer.reminder(delivery), delivery.email)
