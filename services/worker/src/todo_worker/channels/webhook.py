"""The webhook channel, after Standard Webhooks: https://www.standardwebhooks.com."""

import base64
import hmac
import ssl
from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver

from todo_core import clock
from todo_core.database import is_outage
from todo_core.errors import Unavailable
from todo_core.reminders.dispatch import Delivery
from todo_core.settings import WebhookSettings
from todo_core.webhooks.events import ReminderDue, ReminderDueData
from todo_core.webhooks.health import WebhookHealth
from todo_worker.addresses import AddressRefused, Guard
from todo_worker.channel import Failed, Undeliverable
from todo_worker.channels.inbox import Bell
from todo_worker.channels.last_look import LastLook

_MOST_READ = 65_536
_KEEP_ALIVE_SECONDS = 4.0
"""Below the 5 s after which uvicorn and Node close: a request on a connection that closes has to be made again."""
_log = structlog.get_logger(__name__)


class WebhookChannel:
    """Sends one POST for a delivery. HTTP allows at-least-once delivery; a repeat has the same `webhook-id`."""

    name = "webhook"
    separate_receivers = True

    def __init__(
        self,
        settings: WebhookSettings,
        last_look: LastLook,
        health: WebhookHealth,
        bell: Bell,
        *,
        slots: int,
        send_seconds: float,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.slots = slots
        self._disable_after = timedelta(seconds=settings.disable_after_seconds)
        # A little shorter than the sender's limit, so that the failure can be recorded.
        self._timeout = aiohttp.ClientTimeout(total=send_seconds * 0.9, sock_connect=settings.connect_seconds)
        self._last_look = last_look
        self._health = health
        self._bell = bell
        self._guard = Guard(settings.networks)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the client on the running event loop, to which it belongs."""
        connector = aiohttp.TCPConnector(
            limit=0,  # the pump sets the limits
            resolver=self._resolver,
            use_dns_cache=False,
            socket_factory=self._guard.open_socket,
            ssl=ssl.create_default_context(),
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            auto_decompress=False,  # the answer is not read: no decompression bomb
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            headers={"User-Agent": "Todo-Webhooks/1"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._last_look.close()
        if self._session is not None:
            await self._session.close()

    async def send(self, delivery: Delivery) -> None:
        """Send the POST if the delivery is still wanted, and record the webhook's success or failure."""
        await self._last_look.at(delivery)
        try:
            await self._post(delivery)
        except (Failed, TimeoutError) as error:
            await self._note_failure(delivery, gone=isinstance(error, _Gone))
            raise
        if delivery.failing:
            await self._note(self._health.recovered(delivery.endpoint_id))

    async def _post(self, delivery: Delivery) -> None:
        if self._session is None or delivery.url is None or delivery.secret is None:
            raise Undeliverable("the webhook is gone")
        body = payload(delivery)
        secrets = [secret for secret in (delivery.secret, delivery.previous_secret) if secret is not None]
        headers = {"Content-Type": "application/json", **signed_headers(delivery.id, body, secrets, clock.now())}
        try:
            async with self._session.post(delivery.url, data=body, headers=headers, allow_redirects=False) as answer:
                await _drain(answer)
                status = answer.status
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error
        if status == 410:
            raise _Gone("the receiver wants no more (410)")
        if not 200 <= status < 300:
            raise Failed(f"HTTP {status}")

    async def _note_failure(self, delivery: Delivery, *, gone: bool) -> None:
        notice = await self._note(
            self._health.gone(delivery.endpoint_id)
            if gone
            else self._health.failed(delivery.endpoint_id, disable_after=self._disable_after)
        )
        if notice is not None:
            _log.warning("webhook_disabled", webhook=delivery.endpoint_id, gone=gone)
            await self._bell.ring(delivery.account_id, notice)

    @staticmethod
    async def _note(statement: Awaitable[int | None]) -> int | None:
        # A failure to record the webhook's health must not change the delivery's outcome.
        try:
            return await statement
        except Exception as error:
            if not is_outage(error) and not isinstance(error, Unavailable):
                raise
            _log.warning("webhook_health_unknown", reason=type(error).__name__)
            return None


class _Gone(Undeliverable):
    """The receiver answered 410: it wants no more deliveries."""


def payload(delivery: Delivery) -> bytes:
    """Return the body: the same bytes in every attempt, because the first lease stored the todo's values."""
    event = ReminderDue(
        timestamp=delivery.due_at,
        data=ReminderDueData(
            delivery_id=UUID(delivery.id),
            reminder_id=UUID(delivery.reminder_id),
            occurrence=delivery.occurrence,
            remind_at=delivery.due_at,
            todo_id=UUID(delivery.todo_id),
            title=delivery.title,
            due_at=delivery.todo_due_at,
        ),
    )
    return event.model_dump_json().encode()


def signed_headers(message_id: str, body: bytes, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the signature headers, which prove origin and time of the body: one signature for each valid secret."""
    timestamp = str(int(now.timestamp()))
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = [
        base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), content, "sha256")).decode()
        for secret in secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read the answer, so that the connection can be kept; one that does not end soon is cut off."""
    left = _MOST_READ
    while left > 0 and (chunk := await answer.content.read(left)):
        left -= len(chunk)
    if left <= 0:
        answer.close()


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the host name does not resolve"),
    (aiohttp.ClientSSLError, "no TLS connection: the certificate or the protocol does not suit"),
    (aiohttp.ClientConnectorError, "no connection"),
    (aiohttp.ServerDisconnectedError, "the connection was dropped"),
    (ConnectionResetError, "the connection was dropped"),
)


def _failure(error: Exception) -> Failed:
    if isinstance(error, aiohttp.InvalidURL):
        return Undeliverable("the URL is not valid")
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
        return Undeliverable("the address is not public")
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Failed(reason)
    return Failed(f"no proper answer ({type(error).__name__})")
