"""Real HTTP and SMTP receivers, each with its own temper, that record deliveries in the ledger. Never killed."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import re
import time
from dataclasses import dataclass

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.chaos.ledger import Answer, Ledger, Receipt
from tests.chaos.moods import Temper
from tests.chaos.options import SEND_SECONDS
from tests.chaos.peers import Peers

STALL_SECONDS = SEND_SECONDS + 1.5
_NUMBER = re.compile(r"todo (\d+)")


def number_in(title: str) -> int:
    """Return the todo's number from its title; -1 for any other text."""
    found = _NUMBER.search(title)
    return int(found[1]) if found else -1


@dataclass
class HttpReceiver:
    """Accepts webhooks at every path."""

    temper: Temper
    ledger: Ledger
    peers: Peers
    port: int = 0

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid = self.peers.pid(writer.get_extra_info("peername")[1], self.port)
        try:
            while await self._take_one(reader, writer, pid):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def _take_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int | None) -> bool:
        first = await reader.readexactly(1)
        mood = self.temper.mood(time.time())
        if mood == "drop unread":
            self.ledger.misbehaviour[f"{self.temper.name}: {mood}"] += 1
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        data = json.loads(body)["data"]
        receipt = self.ledger.open(
            Receipt(
                id=headers["webhook-id"],
                channel="webhook",
                endpoint=request.split(" ")[1],
                todo=number_in(data["title"]),
                reminder=data["reminder_id"],
                occurrence=data["occurrence"],
                pid=pid,
                at=time.time(),
            )
        )
        if mood is not None:
            self.ledger.misbehaviour[f"{self.temper.name}: {mood}"] += 1
        if mood == "drop read":
            self.ledger.close(receipt, "dropped")
            return False
        await asyncio.sleep(STALL_SECONDS if mood == "stall" else self.temper.pause())
        if mood is None and pid in self.peers.stopped:
            # When it is resumed, it reads a failure while other workers send its deliveries: without the fence, its
            # settlement would take the deliveries from them.
            mood = "refuse"
            self.ledger.misbehaviour[f"{self.temper.name}: refuse one that stands still"] += 1
        if mood == "stall":
            self.ledger.close(receipt, "stalled")
            return False
        if reader.at_eof() or reader.exception() is not None:
            self.ledger.close(receipt, "hung up")
            return False
        status = b"500 Internal Server Error" if mood == "refuse" else b"204 No Content"
        writer.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % status)
        self.ledger.close(receipt, "refused" if mood == "refuse" else "accepted")
        await writer.drain()
        return True


@dataclass
class SmtpReceiver:
    """Accepts mails for every address."""

    temper: Temper
    ledger: Ledger
    peers: Peers
    port: int = 0

    async def start(self) -> asyncio.Server:
        """Listen."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(self, loop=loop, enable_SMTPUTF8=True, hostname="mail.test"), "127.0.0.1", 0, backlog=512
        )
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def handle_EHLO(  # noqa: N802 - the interface
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Look up the sender's process at the start of a session."""
        session.host_name = hostname
        assert session.peer is not None
        session.chaos_pid = self.peers.pid(int(session.peer[1]), self.port)  # type: ignore[attr-defined]
        return responses

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Record and answer a mail. One that is dropped unread is not recorded: its id is unknown."""
        mood = self.temper.mood(time.time())
        if mood is not None:
            self.ledger.misbehaviour[f"{self.temper.name}: {mood}"] += 1
        if mood == "drop unread":
            _cut(server)
            return "421 gone"
        receipt = self.ledger.open(self._read(session, envelope))
        answer: Answer = "hung up"
        try:
            if mood == "drop read":
                _cut(server)
                answer = "dropped"
                return "421 gone"
            if mood == "stall":
                answer = "stalled"
                await asyncio.sleep(STALL_SECONDS)
                _cut(server)
                return "421 gone"
            await asyncio.sleep(self.temper.pause())
            answer = "refused" if mood == "refuse" else "accepted"
            return "451 later" if mood == "refuse" else "250 OK"
        finally:  # cancelled if the sender closes the connection
            self.ledger.close(receipt, answer)

    @staticmethod
    def _read(session: Session, envelope: Envelope) -> Receipt:
        assert isinstance(envelope.original_content, bytes)
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        return Receipt(
            id=str(mail["Message-ID"]).strip("<>").partition("@")[0],
            channel="email",
            endpoint=envelope.rcpt_tos[0],
            todo=number_in(str(mail["Subject"])),
            reminder=None,
            occurrence=None,
            pid=getattr(session, "chaos_pid", None),
            at=time.time(),
        )


def _cut(server: SMTP) -> None:
    """Drop the connection without an answer."""
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()
