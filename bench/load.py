"""A small load generator: HTTP/1.1 keep-alive over raw sockets, bounded in requests and in time, 127.0.0.1 only.

It shares a machine of two cores with what it measures, so it is kept cheap: one request in flight a connection, the
request's bytes built once, an answer read by its Content-Length alone. An HTTP library would cost more than the
server under test.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Self, cast

HOST = "127.0.0.1"
"""Nothing but this machine can be loaded."""

CONNECT_SECONDS = 10.0
GRACE_SECONDS = 20.0
"""How long requests still under way may take after a run's own time is over."""


Requests = Callable[[int], Iterator[bytes]]
"""What each connection sends, by its number: request after request."""


def request(method: str, target: str, token: str, body: bytes = b"") -> bytes:
    """One request, whole."""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\n{content}"
    return f"{head}Authorization: Bearer {token}\r\n\r\n".encode("ascii") + body


def again(method: str, target: str, token: str, body: bytes = b"") -> Requests:
    """The same request again and again, on every connection."""
    bytes_ = request(method, target, token, body)
    return lambda _: itertools.repeat(bytes_)


class LoadError(Exception):
    """An answer was not what the measurement is about, so the measurement is worth nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run saw."""

    seconds: float
    statuses: dict[int, int]
    latencies: list[float]
    """Seconds from the last byte written to the last byte read, ascending."""

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return len(self.latencies)

    def percentile(self, share: float) -> float:
        """The latency that `share` of the requests stayed under, in seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class _Budget:
    """How much of a run is left, shared by its connections."""

    def __init__(self, requests: int, seconds: float, expected: bytes | None) -> None:
        self.left = requests
        self.deadline = perf_counter() + seconds
        self.expected = expected
        self.statuses: dict[int, int] = {}
        self.latencies: list[float] = []

    def take(self, at: float) -> bool:
        """Whether one more request may go out."""
        if self.left <= 0 or at >= self.deadline:
            return False
        self.left -= 1
        return True


class _Connection(asyncio.Protocol):
    """One connection, with at most one request in flight."""

    transport: asyncio.WriteTransport
    budget: _Budget
    requests: Iterator[bytes]
    done: asyncio.Future[None] | None = None
    """Set while a run is on."""
    sent_at = 0.0
    received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)  # uvloop's inherits from no such class

    def start(self, budget: _Budget, requests: Iterator[bytes]) -> asyncio.Future[None]:
        """Send requests until the budget is spent; the future ends with the last answer."""
        self.budget = budget
        self.requests = requests
        self.done = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            self._fail("the server closed an idle connection")
        else:
            self._next(perf_counter())
        return self.done

    def _next(self, at: float) -> None:
        if self.budget.take(at):
            self.transport.write(next(self.requests))
            self.sent_at = perf_counter()
        elif self.done is not None and not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self.received:
            data = self.received + data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self.received = data
            return
        length = _content_length(data, head_end)
        if length is None:
            self._fail(f"no Content-Length in {data[:head_end].decode(errors='replace')!r}")
            return
        end = head_end + 4 + length
        if len(data) < end:
            self.received = data
            return
        self.received = b""
        self._answered(int(data[9:12]), data[head_end + 4 : end])

    def _answered(self, status: int, body: bytes) -> None:
        now = perf_counter()
        budget = self.budget
        budget.statuses[status] = budget.statuses.get(status, 0) + 1
        if not 200 <= status < 300:
            self._fail(f"status {status}: {body[:300].decode(errors='replace')}")
        elif budget.expected not in (None, body):
            # A comparison of 5 KB costs a tenth of a microsecond; an unnoticed wrong answer costs the whole figure.
            self._fail("the answer is another than expected")
        else:
            budget.latencies.append(now - self.sent_at)
            self._next(now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed a connection in use ({exc or 'no reason given'})")

    def _fail(self, reason: str) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_exception(LoadError(reason))


def _content_length(data: bytes, head_end: int) -> int | None:
    head = data[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    return None if at < 0 else int(head[at + 17 :].partition(b"\r\n")[0])


class Client:
    """Open connections to one server. One measurement opens its own: servers close what idles for some seconds."""

    def __init__(self, port: int, *, connections: int) -> None:
        self.port = port
        self.size = connections
        self._connections: list[_Connection] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            for _ in range(self.size):
                _, connection = await loop.create_connection(_Connection, HOST, self.port)
                self._connections.append(connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.done = None
            connection.transport.close()
        self._connections.clear()

    async def send(self, source: Requests, *, requests: int, seconds: float, expected: bytes | None = None) -> Run:
        """Send up to `requests`, for up to `seconds`, on all connections at once.

        Raises:
            LoadError: an answer was no success, was not the one expected, or never came.
        """
        began = perf_counter()
        budget = _Budget(requests, seconds, expected)
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                await asyncio.gather(
                    *(connection.start(budget, source(number)) for number, connection in enumerate(self._connections))
                )
        except TimeoutError:
            raise LoadError(f"unanswered {GRACE_SECONDS:.0f} s after the run's end") from None
        took = perf_counter() - began
        if not budget.latencies:
            raise LoadError("no request was answered")
        return Run(took, budget.statuses, sorted(budget.latencies))
