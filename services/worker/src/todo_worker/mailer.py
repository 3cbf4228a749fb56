"""Handing mails to an SMTP server, over connections that are kept for the next one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import aiosmtplib

from todo_core.settings import EmailSettings
from todo_worker.channel import Failed, NotWanted, Undeliverable

_IDLE_SECONDS = 20.0
"""Kept no longer: servers close what is idle, and a mail that meets such a connection has to be sent again."""


class Connection:
    """One conversation with the server."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client
        self._used_at = time.monotonic()

    @property
    def fresh(self) -> bool:
        """Whether it can be expected to work still."""
        return self._client.is_connected and time.monotonic() - self._used_at < _IDLE_SECONDS

    async def send(self, message: EmailMessage, recipient: str) -> None:
        """Hand over one mail.

        Raises:
            Undeliverable: the server refuses this recipient or this mail for good.
            Failed: something else; another attempt may succeed.
        """
        try:
            await self._client.send_message(message, recipients=[recipient])
        except aiosmtplib.SMTPRecipientsRefused as error:
            code = error.recipients[0].code
            raise _refusal(code, permanent=code >= 500) from error
        except aiosmtplib.SMTPDataError as error:
            raise _refusal(error.code, permanent=error.code >= 500) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error.code, permanent=False) from error  # our own sender or sign-in: that can be mended
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            raise Undeliverable("the mail server cannot write to such an address") from error
        except aiosmtplib.SMTPException as error:
            raise _lost(error) from error
        self._used_at = time.monotonic()

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class Mailer:
    """As many connections as the settings allow, opened when needed."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.connections)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A conversation that has begun; it is kept if nothing goes wrong in the block.

        Raises:
            Failed: the server cannot be reached, or does not let us in.
        """
        async with self._slots:
            connection = self._take_idle() or await self._open()
            try:
                yield connection
            except (NotWanted, Undeliverable):
                self._idle.append(connection)  # nothing was said, or the server said no: it goes on listening
                raise
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        """Hang up everywhere."""
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh:
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        settings = self._settings
        if not settings.host:
            raise Undeliverable("no mail server is configured")
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username or None,
            password=settings.password.get_secret_value() if settings.username and settings.password else None,
            timeout=settings.timeout_seconds,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            local_hostname="localhost",  # the library would look up this machine's name, and block meanwhile
        )
        try:
            await client.connect()
        except aiosmtplib.SMTPResponseException as error:
            client.close()
            raise _refusal(error.code, permanent=False) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            raise _lost(error) from error
        except BaseException:
            client.close()
            raise
        return Connection(client)


def _refusal(code: int, *, permanent: bool) -> Failed:
    # Without the server's text: it repeats the address.
    return (Undeliverable if permanent else Failed)(f"the mail server answered {code}")


def _lost(error: Exception) -> Failed:
    if isinstance(error, TimeoutError):
        return Failed("the mail server did not answer in time")
    return Failed(f"no connection to the mail server ({type(error).__name__})")
