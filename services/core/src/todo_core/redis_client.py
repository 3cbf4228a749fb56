"""How every process is a client of Redis: briefly, and once. What it sends are wishes."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from todo_core.settings import RedisSettings
from todo_core.urls import with_password


def connect(settings: RedisSettings) -> Redis:
    """A client that neither waits long nor tries twice. It opens no connection yet."""
    seconds = settings.timeout_ms / 1_000
    return Redis.from_url(
        with_password(settings.url, settings.password),
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        # Neither is for us, and each would cost a command on every new connection: the client's name for the server
        # (Redis 7.2; managed ones are older) and a managed cluster's notices of maintenance.
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
