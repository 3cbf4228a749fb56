"""A constant, modest load like that of clients: reads, writes and one event stream, all counted.

Every request must get its own success status on the first try. There are no retries: a request on a kept-alive
connection that then closes has failed. The stream may end if the server gives a reason and ends its body; then it
resumes after the last event that it saw. At the end, every acknowledged write must be in the database, and every
reminder must have arrived once, both in the inbox and on the stream.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.stack.events import EventReader
from tests.stack.ledger import Ledger, State, state_of
from tests.stack.tally import Failure, Tally
from tests.stack.waiting import until

PASSWORD = "correct horse battery staple"
TIMEOUT = httpx.Timeout(40, connect=10)
"""Longer than the proxy's time limit (30 s), so that its answer is seen."""


@dataclass(frozen=True)
class Options:
    """The amount of load."""

    base_url: str
    ca: Path
    rate: float = 40.0
    """Requests a second. The proxy allows one address 50."""
    lanes: int = 8
    """The number of clients, each with its own connection; half of them read, half write."""
    reminder_seconds: float = 2.0
    """Seconds between two todos that are due at once; 0: none."""
    http2: bool = False


@dataclass
class Person:
    """The account that makes the load."""

    username: str
    token: str = ""
    expires_in: float = 900.0


@dataclass
class Load:
    """One load, which runs between `start` and `stop`."""

    options: Options
    person: Person = field(default_factory=lambda: Person(f"load-{secrets.token_hex(6)}"))
    tally: Tally = field(default_factory=Tally)
    ledger: Ledger = field(default_factory=Ledger)
    events: EventReader = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _clients: AsyncExitStack = field(default_factory=AsyncExitStack)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._tls = ssl.create_default_context(cafile=self.options.ca)

    async def _client(self, *, http2: bool | None = None) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            base_url=self.options.base_url,
            verify=self._tls,
            timeout=TIMEOUT,
            http2=self.options.http2 if http2 is None else http2,
            trust_env=False,
            # One connection, kept for as long as the proxy keeps it (65 s).
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60),
        )
        return await self._clients.enter_async_context(client)

    async def start(self) -> None:
        """Open an account and begin; return once every client has an answer."""
        client = await self._client()
        details = {"username": self.person.username, "email": f"{self.person.username}@example.com"}
        registered = await client.post("/users/", json={**details, "password": PASSWORD})
        registered.raise_for_status()
        await self._sign_in(client)
        # By HTTP/1.1: httpx gives a stream up as soon as the server says that it takes no new ones on the connection
        # (GOAWAY), although this one goes on (RFC 9113, section 6.8).
        self.events = EventReader(await self._client(http2=False), self._headers, self.tally, self._stopping)
        pace = self.options.lanes / self.options.rate
        for lane in range(self.options.lanes):
            work = self._read if lane % 2 else self._write
            self._spawn(work(await self._client(), pace, lane / self.options.rate))
        # One who comes by now and then, on a connection that has been idle.
        self._spawn(self._read(await self._client(), 5.0, 0.0))
        self._spawn(self._stay_signed_in(client))
        self._spawn(self.events.run())
        if self.options.reminder_seconds:
            self._spawn(self._remind(await self._client()))
        await asyncio.wait_for(self.events.opened.wait(), 30)
        await until(lambda: self.tally.answered.keys() >= {"list", "create"}, 30, "the first answers")

    async def stop(self, patience: float = 30) -> None:
        """Stop the requests, but let the stream wait up to `patience` seconds for the remaining reminders."""
        self._stopping.set()
        with suppress(AssertionError):  # `faults` says which are missing
            await until(lambda: self.ledger.reminders.keys() <= set(self.events.todos()), patience, "all reminders")
        self.events.stop()
        async with asyncio.timeout(TIMEOUT.read):
            await asyncio.gather(*self._tasks)

    async def faults(self) -> list[str]:
        """Sign in again, and return the lost writes and the lost or doubled reminders."""
        client = await self._client()
        await self._sign_in(client)
        todos = await _walk(client, "/todos/", self._headers())
        inbox = await _walk(client, "/notifications/", self._headers())
        told = [item["todo_id"] for item in inbox if item["kind"] == "reminder"]
        return [
            *self.ledger.faults(todos),
            *self.ledger.reminder_faults(told, "inbox"),
            *self.ledger.reminder_faults(self.events.todos(), "stream"),
        ]

    def lateness(self) -> list[float]:
        """Return the seconds from due to seen on the stream, for each reminder, shortest first."""
        due = self.ledger.reminders
        return sorted(event.at - due[event.todo_id] for event in self.events.seen if event.todo_id in due)

    async def close(self) -> None:
        """Close the clients."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._clients.aclose()

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.person.token}"}

    async def _sign_in(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/token", data={"username": self.person.username, "password": PASSWORD})
        answer.raise_for_status()
        self.person.token, self.person.expires_in = answer.json()["access_token"], answer.json()["expires_in"]

    async def _stay_signed_in(self, client: httpx.AsyncClient) -> None:
        pause = self.person.expires_in / 2
        while not await self._over(pause):
            form = {"username": self.person.username, "password": PASSWORD}
            answer = await self._ask(client, "sign-in", "POST", "/token", 200, data=form)
            if answer is None:
                pause = 1.0
            else:
                self.person.token, pause = answer.json()["access_token"], answer.json()["expires_in"] / 2

    async def _over(self, seconds: float) -> bool:
        """Wait so many seconds; return true if the load is over by then."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    async def _ask(
        self, client: httpx.AsyncClient, kind: str, method: str, path: str, expected: int, **body: Any
    ) -> httpx.Response | None:
        """Send a request; return the answer, if it has the expected status."""
        started = time.perf_counter()
        try:
            answer = await client.request(method, path, headers=self._headers(), **body)
        except httpx.HTTPError as error:
            self.tally.bad(Failure(time.time(), kind, error=f"{type(error).__name__}: {error}"))
            return None
        if answer.status_code != expected:
            self.tally.bad(Failure.of_answer(kind, answer))
            return None
        self.tally.good(kind, time.perf_counter() - started)
        return answer

    async def _read(self, client: httpx.AsyncClient, pace: float, delay: float) -> None:
        async for turn in self._turns(pace, delay):
            if turn % 2:
                await self._ask(client, "inbox", "GET", "/notifications/?limit=10", 200)
            else:
                await self._ask(client, "list", "GET", "/todos/?limit=20", 200)

    async def _write(self, client: httpx.AsyncClient, pace: float, delay: float) -> None:
        """Create, read, rename and complete one todo after another, and delete every other one."""
        steps = self._turns(pace, delay)
        lives = itertools.count()
        async for _ in steps:
            todo = await self._create(client)
            if todo is None:
                continue
            todo_id, title = todo["id"], todo["title"]
            path = f"/todos/{todo_id}"
            if await anext(steps, None) is None or not await self._ask(client, "read", "GET", path, 200):
                continue
            renamed = f"{title} renamed"
            if await anext(steps, None) is None or not await self._change(
                client, "change", "PATCH", path, todo_id=todo_id, after=(renamed, False), json={"title": renamed}
            ):
                continue
            if await anext(steps, None) is None or not await self._change(
                client, "complete", "POST", f"{path}/complete", todo_id=todo_id, after=(renamed, True)
            ):
                continue
            if next(lives) % 2 and await anext(steps, None) is not None:
                await self._change(client, "delete", "DELETE", path, todo_id=todo_id, after=None, expected=204)

    async def _create(self, client: httpx.AsyncClient, **fields: Any) -> dict[str, Any] | None:
        title = f"todo-{next(self._numbers)}"
        self.ledger.titles.add(title)
        answer = await self._ask(client, "create", "POST", "/todos/", 201, json={"title": title, **fields})
        if answer is None:
            return None
        todo: dict[str, Any] = answer.json()
        self.ledger.certain[todo["id"]] = state_of(todo)
        return todo

    async def _change(
        self,
        client: httpx.AsyncClient,
        kind: str,
        method: str,
        path: str,
        *,
        todo_id: str,
        after: State,
        expected: int = 200,
        **body: Any,
    ) -> bool:
        if await self._ask(client, kind, method, path, expected, **body) is None:
            self.ledger.doubt(todo_id, after)
            return False
        self.ledger.certain[todo_id] = after
        return True

    async def _remind(self, client: httpx.AsyncClient) -> None:
        async for _ in self._turns(self.options.reminder_seconds, 0.0):
            due = datetime.now(UTC) + timedelta(seconds=2)
            todo = await self._create(client, due_at=due.isoformat())
            # A todo whose creation was delayed until it was overdue gets no reminder.
            if todo is not None and datetime.fromisoformat(todo["created_at"]) < due:
                self.ledger.reminders[todo["id"]] = due.timestamp()

    async def _turns(self, pace: float, delay: float) -> AsyncIterator[int]:
        """Count, once in `pace` seconds, until the load is over. Delayed turns are not caught up."""
        at = time.monotonic() + delay
        for turn in itertools.count():
            if await self._over(max(0.0, at - time.monotonic())):
                return
            yield turn
            at = max(at + pace, time.monotonic())


async def _walk(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Return every item of a list."""
    items: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": 100}
    while True:
        answer = await client.get(path, params=params, headers=headers)
        answer.raise_for_status()
        page = answer.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        params["cursor"] = page["next_cursor"]
        await asyncio.sleep(0.03)  # the proxy allows one address 50 requests a second


@asynccontextmanager
async def loading(options: Options) -> AsyncIterator[Load]:
    """Run a load for the length of the block; call `stop` before reading its results."""
    load = Load(options)
    try:
        await load.start()
        yield load
    finally:
        await load.close()
