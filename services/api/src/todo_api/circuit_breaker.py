"""A circuit breaker before Redis: the API works without Redis, and does not wait for it while it is down."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from redis.asyncio import ConnectionPool
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from todo_core import redis_client
from todo_core.settings import RedisSettings

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class RedisCircuitBreaker:
    """Runs commands while Redis answers. One that fails opens the circuit for a moment: the next are not even tried."""

    def __init__(self, settings: RedisSettings) -> None:
        self.key_prefix = settings.key_prefix
        self._redis = redis_client.connect(settings)
        self.pause_seconds = settings.retry_after_ms / 1_000
        self._open_until = 0.0

    @property
    def pool(self) -> ConnectionPool:
        """The connections, for a library that brings its own commands. Run those within `attempt`."""
        return self._redis.connection_pool

    async def attempt(self, command: Callable[[Any], Awaitable[_T]]) -> _T | None:
        """The command's result; None if Redis is down, slow or refuses."""
        if self._open_until > time.monotonic():
            return None
        try:
            return await command(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._open_until = time.monotonic() + self.pause_seconds
            _log.warning("redis_unavailable", reason=f"{type(error).__name__}: {error}")
            return None

    async def answers(self) -> bool:
        """Tell whether Redis answers now; close the circuit if it does."""
        self._open_until = 0.0
        return bool(await self.attempt(lambda redis: redis.ping()))

    def pubsub(self) -> PubSub:
        """A connection to listen on; it raises what goes wrong."""
        return self._redis.pubsub()

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
