"""The rules of webhooks: their owner, number, allowed addresses and secrets."""

import base64
import ipaddress
import secrets
import socket
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from todo_core.accounts.repository import AccountRepository
from todo_core.accounts.tokens import Principal
from todo_core.errors import Conflict, Fault, Invalid, NotFound, Unauthenticated
from todo_core.settings import WebhookSettings
from todo_core.webhooks.addresses import Address, Network, may_be_reached
from todo_core.webhooks.models import Webhook
from todo_core.webhooks.repository import WebhookReads, WebhookRepository

MOST_WEBHOOKS = 10
URL_LENGTH = 2_000


class WebhookNotFound(NotFound):
    """The webhook does not exist, or belongs to another account."""

    code = "webhook_not_found"


class TooManyWebhooks(Conflict):
    """The account has the largest allowed number of webhooks."""

    code = "too_many_webhooks"


def new_secret() -> str:
    """Make a secret in the form of Standard Webhooks: 256 random bits."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode('ascii')}"


def literal_address(host: str) -> Address | None:
    """Parse a URL's host as an IP address, in every spelling that a resolver accepts; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
        except (OSError, ValueError):
            return None
    return address


def leads_inside(url: str, allowed: Sequence[Network]) -> bool:
    """Tell whether a URL names this machine or another address that is neither public nor an exception.

    This gives an early error in words. The decisive check is the worker's, on the address that it connects to.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        address: Address | None = ipaddress.ip_address("127.0.0.1")
    else:
        address = literal_address(host)
    return address is not None and not may_be_reached(address, allowed)


class WebhookService:
    """Changes webhooks under the account's lock, so that the limit on their number holds."""

    def __init__(
        self,
        accounts: AccountRepository,
        webhooks: WebhookRepository,
        reads: WebhookReads,
        settings: WebhookSettings,
    ) -> None:
        self._accounts = accounts
        self._webhooks = webhooks
        self._reads = reads
        self._settings = settings

    async def of(self, owner: Principal) -> list[asyncpg.Record]:
        """Return the account's webhooks, without their secrets.

        Raises:
            Unauthenticated: the account is gone, or the token has been ended.
        """
        rows = await self._reads.of(owner)
        if rows is None:
            raise Unauthenticated
        return rows

    async def add(self, owner: Principal, url: str) -> Webhook:
        """Add a webhook with a new secret.

        Raises:
            Invalid: the URL leads to an address that is not public.
            TooManyWebhooks: the account has the largest allowed number.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        self._check(url)
        await self._begin(owner)
        if await self._webhooks.count(owner.id) >= MOST_WEBHOOKS:
            raise TooManyWebhooks
        webhook = Webhook(account_id=owner.id, url=url, secret=new_secret())
        await self._webhooks.save(webhook)
        return webhook

    async def update(self, owner: Principal, webhook_id: UUID, changes: Mapping[str, Any]) -> Webhook:
        """Change a webhook's URL, or switch it off or on. A new URL, or switching it on, resets its failures.

        Raises:
            Invalid: the URL leads to an address that is not public.
            WebhookNotFound: there is no such webhook, or it is someone else's.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        if "url" in changes:
            self._check(changes["url"])
        await self._begin(owner)
        webhook = await self._lock(owner, webhook_id)
        if changes.get("url", webhook.url) != webhook.url or changes.get("active"):
            webhook.failing_since = None
        if changes.get("active"):
            webhook.disabled_at = None
        for field, value in changes.items():
            setattr(webhook, field, value)
        await self._webhooks.save(webhook)
        return webhook

    async def rotate_secret(self, owner: Principal, webhook_id: UUID) -> Webhook:
        """Give a webhook a new secret. The previous one signs as well for a while, so that receivers can change over.

        Raises:
            WebhookNotFound: there is no such webhook, or it is someone else's.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        await self._begin(owner)
        webhook = await self._lock(owner, webhook_id)
        overlap = timedelta(seconds=self._settings.secret_overlap_seconds)
        await self._webhooks.replace_secret(webhook, new_secret(), overlap)
        return webhook

    async def delete(self, owner: Principal, webhook_id: UUID) -> None:
        """Remove a webhook. Raises as `rotate_secret` does."""
        await self._begin(owner)
        await self._lock(owner, webhook_id)
        await self._webhooks.delete(owner.id, webhook_id)

    def _check(self, url: str) -> None:
        if leads_inside(url, self._settings.networks):
            raise Invalid(Fault("url", "webhook_address"))

    async def _begin(self, owner: Principal) -> None:
        if await self._accounts.get(owner, lock=True) is None:
            raise Unauthenticated

    async def _lock(self, owner: Principal, webhook_id: UUID) -> Webhook:
        webhook = await self._webhooks.lock(owner.id, webhook_id)
        if webhook is None:
            raise WebhookNotFound
        return webhook
