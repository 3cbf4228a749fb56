"""Sends verification mails: at most once each, since the recipient may never have asked for one."""

import asyncio

import structlog

from todo_core.accounts.verification_mails import VerificationMails
from todo_worker.channel import Failed
from todo_worker.mailer import Mailer
from todo_worker.mails import MailWriter
from todo_worker.metrics import Metrics

_log = structlog.get_logger(__name__)


class Verification:
    """Sends the waiting verification mails."""

    def __init__(
        self, mails: VerificationMails, mailer: Mailer, writer: MailWriter, metrics: Metrics, send_seconds: float
    ) -> None:
        self._mails = mails
        self._mailer = mailer
        self._writer = writer
        self._metrics = metrics
        self._send_seconds = send_seconds
        self._sending = asyncio.Lock()

    async def send_waiting(self) -> int:
        """Send all waiting mails, one after the other; return how many were sent."""
        if self._sending.locked():
            return 0
        sent = 0
        async with self._sending:
            while await self._mails.are_waiting():
                try:
                    async with asyncio.timeout(self._send_seconds):
                        if not await self._send_one():
                            break
                except (Failed, TimeoutError) as error:
                    # Either no mail was taken, and all still wait; or one was taken, and it is not tried again.
                    self._metrics.verification_mails.labels("failed").inc()
                    _log.warning("verification_mail_failed", reason=str(error) or type(error).__name__)
                    break
                sent += 1
                self._metrics.verification_mails.labels("sent").inc()
        return sent

    async def _send_one(self) -> bool:
        # Connect before a mail is taken: while the mail server is down, no mail is lost.
        async with self._mailer.connection() as connection:
            for mail in await self._mails.claim(1):
                await connection.send(self._writer.verification(mail), mail.email)
                return True
        return False
