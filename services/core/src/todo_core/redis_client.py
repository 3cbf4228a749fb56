"""How every process is a client of Redis: briefly, and once. What it sends are wishes."""

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
    """A client that neither waits long nor tries twice. It opens no connection yet."""
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
    """Never has its server's name looked up twice at the same time.

    Names are looked up in a handful of threads for all of a process. Where a container is gone, its name takes ten
    seconds to be refused: lookups that nobody waits for any more would fill them all, and PostgreSQL's would wait.
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
                    done.exception()  # whoever still waited has it; nobody else wants it

            lookup.add_done_callback(forget)
            self._under_way[key] = lookup
        return self._under_way[key]


class _Tls(_Tcp, SSLConnection):
    """The same by TLS."""
