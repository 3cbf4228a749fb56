"""E-mail, to addresses whose owners have proved them: the lease says whether they have."""

from todo_core.reminders.dispatch import Delivery
from todo_worker.mailer import Mailer
from todo_worker.mails import MailWriter


class EmailChannel:
    """One mail for a delivery. SMTP can do no better than at least once: the Message-ID tells a repeat."""

    name = "email"
    separate_receivers = False

    def __init__(self, mailer: Mailer, writer: MailWriter, slots: int) -> None:
        self.slots = slots
        self._mailer = mailer
        self._writer = writer

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Hang up."""
        await self._mailer.close()

    async def send(self, delivery: Delivery) -> None:
        """Write it and hand it over."""
        await self._mailer.send(self._writer.reminder(delivery), delivery.email)
