"""Redis as Celery's broker."""

import ssl
from typing import Any
from urllib.parse import urlsplit

from todo_core.settings import RedisSettings
from todo_core.urls import with_password

BROKER_SECONDS = 5
"""Seconds that a command may take before the connection to the broker counts as lost."""


def broker_url(settings: RedisSettings) -> str:
    """Return the URL of Redis in kombu's form."""
    url = with_password(settings.url, settings.password)
    if not url.startswith("unix:"):
        return url
    parts = urlsplit(url)
    query = f"?{parts.query.replace('db=', 'virtual_host=')}" if parts.query else ""
    return f"redis+socket://{parts.netloc}{parts.path}{query}"


def broker_options(settings: RedisSettings) -> dict[str, Any]:
    """Return the Celery settings for this broker."""
    options: dict[str, Any] = {
        "broker_transport_options": {
            "global_keyprefix": f"{settings.key_prefix}:",
            "socket_timeout": BROKER_SECONDS,  # a Redis that hangs must not block this process
            "socket_connect_timeout": BROKER_SECONDS,
            "socket_keepalive": True,
        }
    }
    if settings.url.get_secret_value().startswith("rediss://"):
        options["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options
