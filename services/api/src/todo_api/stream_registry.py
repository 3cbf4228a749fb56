"""The registry of the notification streams that this process holds open, and what wakes them.

A stream that waits holds nothing but its socket. Redis wakes it: whoever adds a notification publishes to its account's
channel, and one connection of each process listens to all of them. PostgreSQL is asked every other second by one
statement for all streams of the process, so that a Redis that is down, or a message that is lost, costs that long and
no more; it also tells which accounts are gone. Nobody believes a message: it only means "look".
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from todo_api.circuit_breaker import RedisCircuitBreaker
from todo_core.accounts.tokens import Principal
from todo_core.database import is_outage
from todo_core.errors import AppError, Unavailable
from todo_core.inbox.repository import InboxReads
from todo_core.settings import StreamSettings

_IDLE_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class TooManyStreams(AppError):
    """The account has as many streams open as it may."""

    code = "too_many_streams"


class OpenStream:
    """The open stream of one client."""

    def __init__(self, owner: Principal) -> None:
        self.owner = owner
        self.last = 0
        """The number of the last notification that it was sent."""
        self.ended: str | None = None
        """Why it is over."""
        self.rung_for = 0
        """The inbox's last number when the poll last rang."""
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """There may be something new."""
        self._bell.set()

    def end(self, reason: str) -> None:
        """End the stream."""
        self.ended = self.ended or reason
        self._bell.set()

    async def rung(self, seconds: float) -> bool:
        """Wait until it is rung, or over; false if neither comes in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True


class StreamRegistry:
    """Holds every open stream. The two tasks that wake them start with the first."""

    def __init__(self, reads: InboxReads, redis: RedisCircuitBreaker, settings: StreamSettings) -> None:
        self._reads = reads
        self._redis = redis
        self._settings = settings
        self._open: defaultdict[UUID, set[OpenStream]] = defaultdict(set)
        self.count = 0
        """The number of open streams."""
        self._occupied = asyncio.Event()
        self._stopping = False
        self._waking: asyncio.Task[None] | None = None

    def open(self, owner: Principal) -> OpenStream:
        """Begin a stream; the caller must `close` it.

        Raises:
            TooManyStreams: the account has its fill.
            Unavailable: the process has, or is about to stop.
        """
        if self._stopping or self.count >= self._settings.most:
            raise Unavailable(retry_after=1 if self._stopping else 5)
        if len(self._open.get(owner.id, ())) >= self._settings.per_account:
            raise TooManyStreams
        stream = OpenStream(owner)
        self._open[owner.id].add(stream)
        self.count += 1
        self._occupied.set()
        if self._waking is None or self._waking.done():
            self._waking = asyncio.create_task(self._wake())
        return stream

    def close(self, stream: OpenStream) -> None:
        """Remove a stream that has ended."""
        streams = self._open[stream.owner.id]
        streams.discard(stream)
        if not streams:
            del self._open[stream.owner.id]
        self.count -= 1
        if not self.count:
            self._occupied.clear()

    def stop(self) -> None:
        """End every stream, and begin no more: the process is about to stop."""
        self._stopping = True
        self._end_all("shutting_down")

    async def aclose(self) -> None:
        """Let go of everything."""
        self.stop()
        if self._waking is not None:
            self._waking.cancel()
            with suppress(asyncio.CancelledError):
                await self._waking

    async def _wake(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._poll())
                group.create_task(self._listen())
        except BaseExceptionGroup as errors:
            # A defect. No stream would be woken any more: clients reconnect, which starts the tasks again.
            _log.error("streams_broken", exc_info=errors)
            self._end_all("error")

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            await self._occupied.wait()
            # As it was before the question: what is sent meanwhile may be newer than the answer.
            asked = {
                account_id: [(stream, stream.last) for stream in streams] for account_id, streams in self._open.items()
            }
            try:
                heads = await self._reads.heads(list(asked))
            except Exception as error:
                if not is_down(error):
                    raise
                _log.warning("streams_cannot_look", reason=f"{type(error).__name__}: {error}")
                continue
            for account_id, streams in asked.items():
                head = heads.get(account_id)
                for stream, last in streams:
                    if head is None or head.auth_version > stream.owner.auth_version:
                        stream.end("signed_out")
                    elif head.last_seq < last:
                        # A failover has lost the last commits: their numbers come again. So does the client.
                        stream.end("rewound")
                    elif head.last_seq > stream.rung_for:
                        stream.rung_for = head.last_seq
                        stream.ring()

    async def _listen(self) -> None:
        while True:
            await self._occupied.wait()
            try:
                await self._listen_while_occupied()
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("streams_cannot_listen", reason=f"{type(error).__name__}: {error}")
                await asyncio.sleep(self._redis.pause_seconds)

    async def _listen_while_occupied(self) -> None:
        prefix = f"{self._redis.key_prefix}:inbox:"
        async with self._redis.pubsub() as channel:
            await channel.psubscribe(f"{prefix}*")
            asked = False
            while self._occupied.is_set():
                message = await channel.get_message(timeout=_IDLE_SECONDS)
                if message is None and asked:
                    raise TimeoutError("Redis does not answer")
                if message is None:  # a connection that died without a word would stay silent for ever
                    await channel.ping()
                elif message["type"] == "psubscribe":
                    self._ring_all()  # what was said before was not heard
                elif message["type"] == "pmessage":
                    self._ring(message["channel"].removeprefix(prefix.encode()))
                asked = message is None

    def _ring(self, account_id: bytes) -> None:
        with suppress(ValueError):
            for stream in self._open.get(UUID(account_id.decode("ascii", "replace")), ()):
                stream.ring()

    def _ring_all(self) -> None:
        for streams in self._open.values():
            for stream in streams:
                stream.ring()

    def _end_all(self, reason: str) -> None:
        for streams in self._open.values():
            for stream in streams:
                stream.end(reason)


def is_down(error: Exception) -> bool:
    """Tell whether an error means that PostgreSQL is down or overloaded."""
    return isinstance(error, Unavailable) or is_outage(error)
