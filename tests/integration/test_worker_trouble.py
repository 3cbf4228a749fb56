"""What a channel makes of trouble around it: its database, its Redis, its mail server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.receivers import HttpReceiver, SmtpReceiver, smtp_receiver
from tests.worker_kit import SECRET, eventually
from todo_core.ids import new_id
from todo_core.notifications.inbox import Inboxes
from todo_core.notifications.webhook_health import WebhookHealth
from todo_core.reminders.dispatch import Delivery
from todo_core.settings import EmailSettings, RedisSettings, WebhookSettings
from todo_worker import redis_client
from todo_worker.channels.base import Failed, Undeliverable
from todo_worker.channels.inbox import Bell, InboxChannel
from todo_worker.channels.webhook import WebhookChannel
from todo_worker.mailer import Mailer


def delivery(**fields: Any) -> Delivery:
    """One under lease."""
    values: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__, "")
    now = datetime.now(UTC)
    values |= {"id": str(new_id()), "age": timedelta(), "due_at": now, "todo_due_at": now, "occurrence": 1}
    return Delivery(**{**values, "secret": SECRET, "previous_secret": None, "failing": True, **fields})


class _Statements:
    """Every statement ends with this error, or does nothing."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def add(self, **_: object) -> int:
        return self._answer()

    async def failed(self, *_: object, **__: object) -> int:
        return self._answer()

    async def recovered(self, *_: object) -> int:
        return self._answer()

    def _answer(self) -> int:
        if self._error:
            raise self._error
        return 1


@pytest.fixture
def deaf_bell() -> Bell:
    """A bell whose Redis is away."""
    return Bell(redis_client.connect(RedisSettings(url="redis://127.0.0.1:1/0")), "todo")


async def test_an_inbox_has_what_it_was_sent_whether_its_bell_rings_or_not(deaf_bell: Bell) -> None:
    await InboxChannel(cast(Inboxes, _Statements(None)), deaf_bell, 1).send(delivery())
    await deaf_bell.close()


async def test_an_inbox_whose_database_is_away_is_tried_again_and_a_defect_is_not_called_an_outage(
    deaf_bell: Bell,
) -> None:
    away = InboxChannel(cast(Inboxes, _Statements(ConnectionRefusedError())), deaf_bell, 1)
    with pytest.raises(Failed, match="the database did not answer"):
        await away.send(delivery())
    broken = InboxChannel(cast(Inboxes, _Statements(KeyError("x"))), deaf_bell, 1)
    with pytest.raises(KeyError):
        await broken.send(delivery())


@pytest.mark.parametrize("status", [200, 500])
async def test_a_webhook_went_as_it_went_whether_that_can_be_written_down_or_not(
    http: HttpReceiver, deaf_bell: Bell, status: int
) -> None:
    http.status = status
    health = cast(WebhookHealth, _Statements(ConnectionRefusedError()))
    settings = WebhookSettings(allowed_networks="127.0.0.0/8")
    channel = WebhookChannel(settings, health, deaf_bell, slots=1, send_seconds=10)
    await channel.open()
    with capture_logs() as lines:
        if status == 200:
            await channel.send(delivery(url=http.url))
        else:
            with pytest.raises(Failed, match="HTTP 500"):
                await channel.send(delivery(url=http.url))
    assert [line["event"] for line in lines] == ["webhook_health_unknown"]
    broken = WebhookChannel(
        settings, cast(WebhookHealth, _Statements(KeyError("x"))), deaf_bell, slots=1, send_seconds=10
    )
    await broken.open()
    with pytest.raises(KeyError):
        await broken.send(delivery(url=http.url))
    await channel.close()
    await broken.close()


async def test_a_webhook_that_was_deleted_meanwhile_is_not_called(deaf_bell: Bell) -> None:
    channel = WebhookChannel(
        WebhookSettings(), cast(WebhookHealth, _Statements(None)), deaf_bell, slots=1, send_seconds=1
    )
    await channel.open()
    with pytest.raises(Undeliverable, match="the webhook is gone"):
        await channel.send(delivery(url=None))
    await channel.close()


# ---- the mail server


def mailer(port: int, **settings: Any) -> Mailer:
    """One that talks to this port."""
    return Mailer(EmailSettings(**{"host": "127.0.0.1", "port": port, "security": "none", **settings}))


def mail() -> EmailMessage:
    """A mail to lin@example.com."""
    message = EmailMessage()
    message["From"], message["To"] = "todo@example.com", "lin@example.com"
    return message


async def test_no_mail_goes_out_without_tls_where_tls_is_asked_for(smtp: SmtpReceiver) -> None:
    for security in ("starttls", "tls"):
        sender = mailer(smtp.port, security=security)
        with pytest.raises(Failed) as refusal:
            await sender.send(mail(), "lin@example.com")
        assert not isinstance(refusal.value, Undeliverable)
    assert smtp.raw == []


async def test_a_sign_in_that_does_not_work_is_ours_to_mend(smtp: SmtpReceiver) -> None:
    sender = mailer(smtp.port, username="lin", password="hunter2")
    with pytest.raises(Failed) as refusal:
        await sender.send(mail(), "lin@example.com")
    assert not isinstance(refusal.value, Undeliverable)
    assert "hunter2" not in str(refusal.value)


async def test_a_mail_server_that_does_not_answer_in_time_loses_the_mail_for_now(smtp: SmtpReceiver) -> None:
    smtp.stalled = True
    with pytest.raises(Failed, match="did not answer in time"):
        await mailer(smtp.port, timeout_seconds=0.2).send(mail(), "lin@example.com")


async def test_an_attempt_that_is_ended_from_outside_keeps_no_connection() -> None:
    greeted = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    sender = mailer(server.sockets[0].getsockname()[1])
    attempt = asyncio.create_task(sender.send(mail(), "lin@example.com"))
    async with asyncio.timeout(10):
        await greeted.wait()
    while not attempt.done():
        attempt.cancel()  # more than once, as `Attempts.finish` does
        await asyncio.wait([attempt], timeout=0.1)
    assert attempt.cancelled()
    assert sender._idle == []
    server.close()
    await server.wait_closed()


async def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    async with smtp_receiver() as first:
        sender = mailer(first.port)
        await sender.send(mail(), "lin@example.com")
        first.disconnect()
        await eventually(lambda: not sender._idle[0].fresh)
        await sender.send(mail(), "lin@example.com")
        assert (len(first.raw), first.sessions) == (2, 2)
        await sender.close()
