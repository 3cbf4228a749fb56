"""A client of the event stream that reconnects as browsers do, and records every failure."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from tests.stack.tally import Failure, Tally

AGAIN_SECONDS = 0.2
"""Seconds before it reconnects. Browsers wait the two seconds that the stream asks for; less detects more."""


@dataclass(frozen=True)
class Seen:
    """A notification from the stream."""

    seq: int
    todo_id: str
    at: float
    """`time.time()`."""


@dataclass
class EventReader:
    """Reads one stream after another, each resumed after the last event of the one before."""

    client: httpx.AsyncClient
    headers: Callable[[], dict[str, str]]
    tally: Tally
    over: asyncio.Event
    seen: list[Seen] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    last: str | None = None
    """The `id` of the last event."""
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _half: dict[str, str] = field(default_factory=dict)
    """The fields of an event whose final empty line has not arrived."""

    def todos(self) -> list[str]:
        """Return the ids of the notified todos, repeats included."""
        return [event.todo_id for event in self.seen]

    def stop(self) -> None:
        """Stop listening."""
        self._stopped.set()

    async def run(self) -> None:
        """Listen until stopped."""
        stopped = asyncio.create_task(self._stopped.wait())
        while not self._stopped.is_set():
            listening = asyncio.create_task(self._listen())
            await asyncio.wait({listening, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
                return
            listening.result()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), AGAIN_SECONDS)

    async def _listen(self) -> None:
        """Read one connection to its end."""
        headers = self.headers() | ({} if self.last is None else {"Last-Event-ID": self.last})
        started = time.perf_counter()
        self._half = {}
        said: str | None = None
        try:
            async with self.client.stream("GET", "/notifications/stream", headers=headers) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    self.tally.bad(Failure.of_answer("stream", answer))
                    return
                self.tally.good("stream", time.perf_counter() - started)
                self.opened.set()
                async for line in answer.aiter_lines():
                    said = self._take(line) or said
        except httpx.HTTPError as error:
            self.tally.bad(Failure(time.time(), "stream", error=f"{type(error).__name__}: {error}"))
            return
        # The body has come to its end as HTTP has it. The server's last words have to say why.
        if said is None:
            self.tally.bad(Failure(time.time(), "stream", error="ended without a word"))
        else:
            self.tally.endings[said] += 1

    def _take(self, line: str) -> str | None:
        """Handle one line; return the reason, if the stream ends with it."""
        name, _, value = line.partition(": ")
        if name:
            self._half[name] = value
        elif value:
            return None if value == "still here" else value
        else:
            event, self._half = self._half, {}
            self.last = event.get("id", self.last)
            if "data" in event:
                told = json.loads(event["data"])
                self.seen.append(Seen(told["seq"], told["todo_id"], time.time()))
        return None
