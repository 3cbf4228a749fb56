"""HTTP and SMTP receivers that misbehave in phases drawn from the seed and record what arrives. Never killed."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.chaos.options import SEND_SECONDS
from tests.chaos.peers import Peers
from tests.receivers import parse_head

Behaviour = Literal["stall", "drop unread", "drop read", "refuse"]
BEHAVIOURS: tuple[Behaviour, ...] = ("stall", "drop unread", "drop read", "refuse")
Answer = Literal["accepted", "refused", "dropped", "stalled", "hung up", "none yet"]
"""`hung up`: the sender closed the connection before the answer."""
ANSWERS: dict[Behaviour | None, Answer] = {
    None: "accepted", "refuse": "refused", "drop read": "dropped", "stall": "stalled",
}  # fmt: skip
STALL_SECONDS = SEND_SECONDS + 1.5
_NUMBER = re.compile(r"todo (\d+)")


@dataclass(slots=True)
class Receipt:
    """One request or mail that was read completely."""

    id: str
    """The delivery's id: `webhook-id`, or the left part of the `Message-ID`."""
    channel: str
    endpoint: str
    """The webhook's path, or the mail's recipient."""
    todo: int
    """The todo's number, from its title."""
    occurrence: int | None
    """It stands in the body of a webhook, and not in a mail."""
    pid: int | None
    """The process at the other end of the connection."""
    at: float
    answer: Answer = "none yet"
    ended: float = 0.0


@dataclass
class Ledger:
    """All receipts in the order of arrival, independent of the product, and the receivers' failures by kind."""

    receipts: list[Receipt] = field(default_factory=list)
    misbehaviour: Counter[str] = field(default_factory=Counter)


@dataclass
class Receiver:
    """The phases in which a receiver misbehaves, and how it answers."""

    name: str
    slowness: tuple[float, float]
    """The least and most seconds that an answer takes."""
    draw: random.Random
    ledger: Ledger
    peers: Peers
    port: int = 0
    phases: list[tuple[float, float, Behaviour, float]] = field(default_factory=list)
    """Begin and end (as `time.time()`), behaviour, and the share of deliveries that it applies to."""

    def plan(self, start: float, seconds: float) -> None:
        """Draw the phases: about a quarter of the time, each behaviour in turn."""
        behaviours = list(BEHAVIOURS)
        self.draw.shuffle(behaviours)
        at, turn = self.draw.uniform(1, 0.1 * seconds + 2), 0
        while at < seconds:
            until = min(at + self.draw.uniform(2, 7), seconds)
            self.phases.append((start + at, start + until, behaviours[turn % 4], self.draw.choice((0.3, 0.6, 1.0))))
            at, turn = until + self.draw.uniform(4, 20), turn + 1

    def behaviour(self) -> Behaviour | None:
        """Draw the behaviour for one delivery at this moment."""
        now = time.time()
        for began, ended, behaviour, share in self.phases:
            if began <= now < ended and self.draw.random() < share:
                self.ledger.misbehaviour[f"{self.name}: {behaviour}"] += 1
                return behaviour
        return None

    async def answer(self, receipt: Receipt, behaviour: Behaviour | None, gone: Callable[[], bool]) -> Answer:
        """Record a receipt, wait as long as its answer takes, and record and return the answer."""
        self.ledger.receipts.append(receipt)
        answer: Answer = "hung up"
        try:
            if behaviour != "drop read":
                await asyncio.sleep(STALL_SECONDS if behaviour == "stall" else self.draw.uniform(*self.slowness))
            if behaviour is None and receipt.pid in self.peers.stopped:
                # When it is resumed, it reads a failure while other workers send its deliveries: without the fence,
                # its settlement would take the deliveries from them.
                behaviour = "refuse"
                self.ledger.misbehaviour[f"{self.name}: refuse a stopped process"] += 1
            if behaviour in ("drop read", "stall") or not gone():
                answer = ANSWERS[behaviour]
        finally:  # aiosmtpd cancels this if the sender closes the connection
            receipt.answer, receipt.ended = answer, time.time()
        return answer


@dataclass
class HttpReceiver(Receiver):
    """Accepts webhooks at every path."""

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
        head = await reader.readuntil(b"\r\n\r\n")
        behaviour = self.behaviour()
        if behaviour == "drop unread":
            return False
        path, headers = parse_head(head)
        data = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))["data"]
        receipt = Receipt(
            headers["webhook-id"], "webhook", path, _number(data["title"]), data["occurrence"], pid, time.time()
        )
        answer = await self.answer(receipt, behaviour, lambda: reader.at_eof() or reader.exception() is not None)
        if answer not in ("accepted", "refused"):
            return False
        status = b"204 No Content" if answer == "accepted" else b"500 Internal Server Error"
        writer.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % status)
        await writer.drain()
        return True


@dataclass
class SmtpReceiver(Receiver):
    """Accepts mails for every address."""

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
        assert isinstance(envelope.original_content, bytes)
        assert isinstance(server.transport, asyncio.Transport)
        behaviour = self.behaviour()
        if behaviour != "drop unread":
            mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
            delivery_id = str(mail["Message-ID"]).strip("<>").partition("@")[0]
            number, pid = _number(str(mail["Subject"])), getattr(session, "chaos_pid", None)
            receipt = Receipt(delivery_id, "email", envelope.rcpt_tos[0], number, None, pid, time.time())
            answer = await self.answer(receipt, behaviour, lambda: False)
            if answer in ("accepted", "refused"):
                return "250 OK" if answer == "accepted" else "451 later"
        server.transport.abort()
        return "421 gone"


def _number(title: str) -> int:
    """Return the todo's number from its title; -1 for any other text."""
    found = _NUMBER.search(title)
    return int(found[1]) if found else -1
