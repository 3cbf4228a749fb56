"""The channels during faults of the database, Redis and the mail server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.receivers import HttpReceiver, SmtpReceiver, smtp_receiver
from tests.streaming import leased
from tests.worker_kit import SECRET, Office, eventually
from todo_core import redis_client
from todo_core.database import StatementPool
from todo_core.ids import new_id
from todo_core.inbox.repository import Inboxes
from todo_core.reminders.dispatch import Delivery
from todo_core.settings import DatabaseSettings, EmailSettings, RedisSettings, WebhookSettings
from todo_core.webhooks.health import WebhookHealth
from todo_worker.channel import Failed, Undeliverable
from todo_worker.channels.inbox import Bell, InboxChannel
from todo_worker.channels.last_look import LastLook
from todo_worker.channels.webhook import WebhookChannel
from todo_worker.mailer import Mailer


def delivery(**fields: Any) -> Delivery:
    """Make a leased delivery."""
    values: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__, "")
    now = datetime.now(UTC)
    values |= {name: str(new_id()) for name in ("id", "reminder_id", "todo_id")} | {
        "age": timedelta(),
        "due_at": now,
        "todo_due_at": now,
        "occurrence": 1,
    }
    return Delivery(**{**values, "secret": SECRET, "previous_secret": None, "failing": True, **fields})


def statements(url: str = "postgresql://nobody@127.0.0.1:1/nothing") -> StatementPool:
    """Make a pool of connections to this database; without one, to a PostgreSQL that is away."""
    return StatementPool(DatabaseSettings(url=url))


class Wanted(LastLook):
    """A last look that finds everything as it was."""

    def __init__(self) -> None:
        """Make a last look without a database."""

    async def at(self, delivery: Delivery) -> None:
        """Go ahead."""

    async def close(self) -> None:
        """Nothing to do."""


@pytest.fixture
async def without_tables(empty_database: str) -> AsyncIterator[StatementPool]:
    """A database in which every statement of ours is a defect."""
    pool = statements(empty_database)
    yield pool
    await pool.close()


@pytest.fixture
def deaf_bell() -> Bell:
    """A bell whose Redis is away."""
    return Bell(redis_client.connect(RedisSettings(url="redis://127.0.0.1:1/0")), "todo")


async def test_an_inbox_has_what_it_was_sent_whether_its_bell_rings_or_not(office: Office, deaf_bell: Bell) -> None:
    pool = statements(office.settings.database.url.get_secret_value())
    lin = await office.account()
    due = await leased(pool, lin, "Buy milk")
    channel = InboxChannel(Inboxes(pool), deaf_bell, 1, 10)
    await channel.send(delivery(id=due.delivery_id, fence=due.fence, account_id=lin))
    assert await office.sql.fetchval("SELECT count(*) FROM notifications WHERE account_id = $1", lin) == 1
    await pool.close()
    await deaf_bell.close()


async def test_an_inbox_whose_database_is_away_is_tried_again_and_a_defect_is_not_called_an_outage(
    without_tables: StatementPool, deaf_bell: Bell
) -> None:
    ids = {"account_id": str(new_id()), "fence": 1}
    with pytest.raises(Failed, match="the database did not answer"):
        await InboxChannel(Inboxes(statements()), deaf_bell, 1, 10).send(delivery(**ids))
    with pytest.raises(asyncpg.UndefinedTableError):
        await InboxChannel(Inboxes(without_tables), deaf_bell, 1, 10).send(delivery(**ids))


@pytest.mark.parametrize("status", [200, 500])
async def test_a_webhook_went_as_it_went_whether_that_can_be_written_down_or_not(
    http: HttpReceiver, without_tables: StatementPool, deaf_bell: Bell, status: int
) -> None:
    http.status = status
    sent = delivery(url=http.url, endpoint_id=str(new_id()))
    settings = WebhookSettings(allowed_networks="127.0.0.0/8")
    channel = WebhookChannel(settings, Wanted(), WebhookHealth(statements()), deaf_bell, slots=1, send_seconds=10)
    await channel.open()
    with capture_logs() as lines:
        if status == 200:
            await channel.send(sent)
        else:
            with pytest.raises(Failed, match="HTTP 500"):
                await channel.send(sent)
    assert [line["event"] for line in lines] == ["webhook_health_unknown"]
    broken = WebhookChannel(settings, Wanted(), WebhookHealth(without_tables), deaf_bell, slots=1, send_seconds=10)
    await broken.open()
    with pytest.raises(asyncpg.UndefinedTableError):
        await broken.send(sent)
    await channel.close()
    await broken.close()


async def test_a_webhook_that_was_deleted_meanwhile_is_not_called(deaf_bell: Bell) -> None:
    channel = WebhookChannel(
        WebhookSettings(), Wanted(), WebhookHealth(statements()), deaf_bell, slots=1, send_seconds=1
    )
    await channel.open()
    with pytest.raises(Undeliverable, match="the webhook is gone"):
        await channel.send(delivery(url=None))
    await channel.close()


# ---- the mail server


def mailer(port: int, **settings: Any) -> Mailer:
    """Make a mailer for this port."""
    return Mailer(EmailSettings(**{"host": "127.0.0.1", "port": port, "security": "none", **settings}))


def mail() -> EmailMessage:
    """A mail to lin@example.com."""
    message = EmailMessage()
    message["From"], message["To"] = "todo@example.com", "lin@example.com"
    return message


async def hand_over(sender: Mailer) -> None:
    """Send that mail."""
    async with sender.connection() as connection:
        await connection.send(mail(), "lin@example.com")


async def test_no_mail_goes_out_without_tls_where_tls_is_asked_for(smtp: SmtpReceiver) -> None:
    for security in ("starttls", "tls"):
        sender = mailer(smtp.port, security=security)
        with pytest.raises(Failed) as refusal:
            await hand_over(sender)
        assert not isinstance(refusal.value, Undeliverable)
    assert smtp.raw == []


async def test_a_sign_in_that_does_not_work_is_ours_to_mend(smtp: SmtpReceiver) -> None:
    sender = mailer(smtp.port, username="lin", password="hunter2")
    with pytest.raises(Failed) as refusal:
        await hand_over(sender)
    assert not isinstance(refusal.value, Undeliverable)
    assert "hunter2" not in str(refusal.value)


async def test_a_mail_server_that_does_not_answer_in_time_loses_the_mail_for_now(smtp: SmtpReceiver) -> None:
    smtp.stalled = True
    with pytest.raises(Failed, match="did not answer in time"):
        await hand_over(mailer(smtp.port, timeout_seconds=0.2))


async def test_an_attempt_that_is_ended_from_outside_keeps_no_connection() -> None:
    greeted = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    sender = mailer(server.sockets[0].getsockname()[1])
    attempt = asyncio.create_task(hand_over(sender))
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
        await hand_over(sender)
        first.disconnect()
        await eventually(lambda: not sender._idle[0].fresh)
        await hand_over(sender)
        assert (len(first.raw), first.sessions) == (2, 2)
        await sender.close()
