"""The way to Redis from the worker: as a client, and as Celery's broker."""

import ssl
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from todo_core.settings import RedisSettings

BROKER_SECONDS = 5
"""How long a command of the broker's may take before the connection counts as lost."""


def connect(settings: RedisSettings) -> Redis:
    """A client that neither waits long nor tries twice: what it sends are wishes."""
    seconds = settings.timeout_ms / 1_000
    return Redis.from_url(
        _with_password(settings),
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        # As in the API: neither is for us, and each would cost a command on every new connection.
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


def broker_url(settings: RedisSettings) -> str:
    """The same address as kombu writes it."""
    url = _with_password(settings)
    if not url.startswith("unix:"):
        return url
    parts = urlsplit(url)
    query = f"?{parts.query.replace('db=', 'virtual_host=')}" if parts.query else ""
    return f"redis+socket://{parts.netloc}{parts.path}{query}"


def broker_options(settings: RedisSettings) -> dict[str, Any]:
    """Celery settings for this broker."""
    options: dict[str, Any] = {
        "broker_transport_options": {
            "global_keyprefix": f"{settings.key_prefix}:",
            "socket_timeout": BROKER_SECONDS,  # a Redis that hangs must not hang us
            "socket_connect_timeout": BROKER_SECONDS,
            "socket_keepalive": True,
        }
    }
    if settings.url.get_secret_value().startswith("rediss://"):
        options["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options


def _with_password(settings: RedisSettings) -> str:
    url = settings.url.get_secret_value()
    if settings.password is None:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    secret = quote(settings.password.get_secret_value(), safe="")
    return urlunsplit(parts._replace(netloc=f"{quote(parts.username or '', safe='%')}:{secret}@{host}"))
