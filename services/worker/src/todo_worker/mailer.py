"""Sends mails to an SMTP server, over connections that are kept for the next mail."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import aiosmtplib

from todo_core.settings import EmailSettings
from todo_worker.channel import Failed, NotWanted, Undeliverable

_IDLE_SECONDS = 20.0
"""How long an idle connection is kept: servers close idle ones, and a mail sent on such a one has to be sent again."""


class Connection:
    """One SMTP session."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client
        self._used_at = time.monotonic()

    @property
    def fresh(self) -> bool:
        """Tell whether the session can be expected to work still."""
        return self._client.is_connected and time.monotonic() - self._used_at < _IDLE_SECONDS

    async def send(self, message: EmailMessage, recipient: str) -> None:
        """Send one mail.

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
            raise _refusal(error.code, permanent=False) from error  # our sender or credentials: can be corrected
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            raise Undeliverable("the mail server cannot write to such an address") from error
        except aiosmtplib.SMTPException as error:
            raise _lost(error) from error
        self._used_at = time.monotonic()

    def close(self) -> None:
        """End the session."""
        self._client.close()


class Mailer:
    """A pool of SMTP sessions: at most as many as the settings allow, opened when needed."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.connections)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Give a session to the block, and keep it for the next mail if nothing fails in the block.

        Raises:
            Failed: the server cannot be reached, or refuses the credentials.
        """
        async with self._slots:
            connection = self._take_idle() or await self._open()
            try:
                yield connection
            except (NotWanted, Undeliverable):
                self._idle.append(connection)  # not used, or refused by the server: it can still be used
                raise
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        """End the idle sessions."""
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
