"""How the parts of a worker process fit together, without Celery: a test puts them together in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver

from todo_core import redis_client
from todo_core.accounts.links import Links
from todo_core.accounts.verification_mails import VerificationMails
from todo_core.database import StatementPool, deadline_seconds
from todo_core.inbox.repository import Inboxes
from todo_core.reminders.dispatch import WORKER, Dispatch
from todo_core.settings import Settings
from todo_core.webhooks.health import WebhookHealth
from todo_worker.channel import Channel
from todo_worker.channels.email import EmailChannel
from todo_worker.channels.inbox import Bell, InboxChannel
from todo_worker.channels.last_look import LastLook
from todo_worker.channels.webhook import WebhookChannel
from todo_worker.crash_points import CrashPoints
from todo_worker.mailer import Mailer
from todo_worker.mails import MailWriter
from todo_worker.metrics import Metrics
from todo_worker.pump import PeerNotifier, Pump
from todo_worker.verification import Verification


@dataclass(frozen=True, slots=True)
class Parts:
    """What one worker process works with. Made on its event loop."""

    statements: StatementPool
    dispatch: Dispatch
    channels: Sequence[Channel]
    bell: Bell
    pump: Pump
    verification: Verification

    async def open(self) -> None:
        """Get ready; nothing has to answer yet."""
        for channel in self.channels:
            await channel.open()

    async def close(self) -> None:
        """Let go of everything."""
        for channel in self.channels:
            await channel.close()
        await self.bell.close()
        await self.statements.close()


def assemble(
    settings: Settings,
    metrics: Metrics,
    peers: PeerNotifier,
    *,
    crash_points: CrashPoints | None = None,
    resolver: AbstractResolver | None = None,
) -> Parts:
    """Make the parts. A channel that is to come is one more line here."""
    worker = settings.worker
    statements = StatementPool(settings.database, application_name=WORKER)
    dispatch = Dispatch(statements)
    bell = Bell(redis_client.connect(settings.redis), settings.redis.key_prefix)
    mailer = Mailer(settings.email)
    writer = MailWriter(Links(settings.tokens), settings.runtime.public_url, settings.email.sender)
    last_look = LastLook(dispatch, worker.send_seconds)
    channels: list[Channel] = [
        InboxChannel(Inboxes(statements), bell, worker.inbox_slots, worker.send_seconds),
        EmailChannel(mailer, writer, last_look, settings.email.connections),
        WebhookChannel(
            settings.webhooks,
            last_look,
            WebhookHealth(statements),
            bell,
            slots=worker.webhook_slots,
            send_seconds=worker.send_seconds,
            resolver=resolver,
        ),
    ]
    metrics.expect(channel.name for channel in channels)
    database = settings.database
    pump = Pump(
        dispatch,
        channels,
        worker,
        metrics,
        peers=peers,
        # What comes before a statement begins counts too.
        statement_seconds=deadline_seconds(database) + database.pool_timeout_seconds + database.connect_timeout_seconds,
        crash_points=crash_points,
    )
    verification = Verification(VerificationMails(statements), mailer, writer, metrics, worker.send_seconds)
    return Parts(statements, dispatch, channels, bell, pump, verification)
