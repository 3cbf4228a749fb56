"""Receivers: an HTTP server and an SMTP server that store what they get, and can be made to misbehave."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Literal, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

Behaviour = Literal["answer", "stall", "drop"]


@dataclass(frozen=True)
class Posted:
    """One request that was read completely."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    """`time.time()`."""

    @property
    def id(self) -> str:
        """Return the delivery's id."""
        return self.headers["webhook-id"]


def parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    """Return the path and the headers of a request."""
    request, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return request.split(" ")[1], headers


@dataclass
class HttpReceiver:
    """Answers as it is told; each path may have a behaviour of its own."""

    port: int = 0
    status: int = 200
    extra: bytes = b""
    """Header lines of the answer."""
    body: bytes = b"{}"
    behaviour: Behaviour = "answer"
    paths: dict[str, Behaviour] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    ledger: list[Posted] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """When set, requests that stall are answered."""

    @property
    def url(self) -> str:
        """Return the receiver's URL."""
        return f"http://127.0.0.1:{self.port}"

    def ids(self) -> list[str]:
        """Return the delivery ids of all requests."""
        return [posted.id for posted in self.ledger]

    async def wait_for(self, count: int) -> None:
        """Wait until `count` have arrived."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.ledger) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and await self._answer(head, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        path, headers = parse_head(head)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            async with self.arrived:
                self.ledger.append(Posted(path, headers, body, time.time()))
                self.arrived.notify_all()
            match self.paths.get(path, self.behaviour):
                case "drop":
                    return False
                case "stall":
                    await self.released.wait()
            status = self.statuses.get(path, self.status)
            writer.write(
                b"HTTP/1.1 %d Whatever\r\ncontent-length: %d\r\n%s\r\n%s"
                % (status, len(self.body), self.extra, self.body)
            )
            await writer.drain()
            return True
        finally:
            self.under_way -= 1


@asynccontextmanager
async def http_receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpReceiver]:
    """Run an HTTP receiver until the block ends."""
    receiver = HttpReceiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    receiver.released.set()
    server.close()


@dataclass
class SmtpReceiver:
    """Takes mails, or refuses them with the codes that it is given."""

    port: int = 0
    sender_reply: str = "250 OK"
    recipient_reply: str = "250 OK"
    data_reply: str = "250 OK"
    stalled: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    raw: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    sessions: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    transports: list[asyncio.BaseTransport] = field(default_factory=list)

    def disconnect(self) -> None:
        """Close all connections."""
        for transport in self.transports:
            transport.close()

    def mails(self) -> list[EmailMessage]:
        """Return all mails, parsed by the standard library."""
        return [
            cast(EmailMessage, email.message_from_bytes(raw, policy=email.policy.default))  # type: ignore[redundant-cast]
            for raw in self.raw
        ]

    async def wait_for(self, count: int) -> None:
        """Wait until `count` have arrived."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.raw) >= count)

    async def handle_EHLO(  # noqa: N802 - the interface
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Count a session."""
        self.sessions += 1
        if server.transport is not None:
            self.transports.append(server.transport)
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802 - the interface
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer MAIL FROM."""
        if self.sender_reply.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options += options
        return self.sender_reply

    async def handle_RCPT(  # noqa: N802 - the interface
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer RCPT TO."""
        if self.recipient_reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient_reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Store a mail and answer DATA."""
        if self.data_reply.startswith("250"):
            async with self.arrived:
                self.raw.append(cast(bytes, envelope.original_content))
                self.recipients += envelope.rcpt_tos
                self.arrived.notify_all()
        if self.stalled:
            await self.released.wait()
        return self.data_reply


@asynccontextmanager
async def smtp_receiver(**options: Any) -> AsyncIterator[SmtpReceiver]:
    """Run an SMTP receiver until the block ends; `options` are those of aiosmtpd's SMTP."""
    receiver = SmtpReceiver()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(receiver, loop=loop, enable_SMTPUTF8=True, hostname="mail.test", **options), "127.0.0.1", 0
    )
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    receiver.released.set()
    server.close()
