"""Makes the clients of Redis: short timeouts, no retries. Nothing sent to Redis may be needed for correctness."""

import asyncio
import socket
from typing import Any, ClassVar

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from todo_core.settings import RedisSettings
from todo_core.urls import with_password


def connect(settings: RedisSettings) -> Redis:
    """Make a client with short timeouts and no retries. It opens no connection yet."""
    seconds = settings.timeout_ms / 1_000
    client = Redis.from_url(
        with_password(settings.url, settings.password),
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        # Neither is for us, and each would cost a command on every new connection: the client's name for the server
        # (Redis 7.2; managed ones are older) and a managed cluster's notices of maintenance.
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    pool = client.connection_pool
    if pool.connection_class is Connection:
        pool.connection_class = _Tcp
    elif pool.connection_class is SSLConnection:
        pool.connection_class = _Tls
    return client


class _Tcp(Connection):
    """A TCP connection that never has two lookups of its server's name under way.

    A process looks names up in a few threads. The lookup of a container that is gone takes ten seconds to fail:
    lookups whose callers have given up would fill all threads, and PostgreSQL's would wait.
    """

    _under_way: ClassVar[dict[tuple[object, str, int], asyncio.Future[Any]]] = {}

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            await asyncio.shield(self._lookup())
        await super()._connect()  # type: ignore[no-untyped-call]

    def _lookup(self) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        key = (loop, self.host, int(self.port))
        if key not in self._under_way:
            lookup = asyncio.ensure_future(loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))

            def forget(done: "asyncio.Future[Any]") -> None:
                del self._under_way[key]
                if not done.cancelled():
                    done.exception()  # callers that still waited got the error; mark it as retrieved

            lookup.add_done_callback(forget)
            self._under_way[key] = lookup
        return self._under_way[key]


class _Tls(_Tcp, SSLConnection):
    """The same over TLS."""
