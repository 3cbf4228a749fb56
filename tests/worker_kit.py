"""Worker processes without Celery, and reminders for them, on a database of their own."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiohttp.abc import AbstractResolver
from prometheus_client import CollectorRegistry, generate_latest

from tests.conftest import make_settings
from todo_core.ids import new_id
from todo_core.reminders.dispatch import Delivery, Outcome
from todo_core.settings import EmailSettings, RuntimeSettings, Settings, WebhookSettings, WorkerSettings
from todo_worker.assembly import Parts, assemble
from todo_worker.crash_points import CrashPoints
from todo_worker.metrics import Metrics

_numbers = itertools.count(1)
SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef0123456789abcdef').decode()}"
QUICK: dict[str, Any] = {
    "poll_seconds": 0.1,
    "retry_seconds": 0.05,
    "retry_longest_seconds": 0.1,
    "grace_seconds": 2.0,
}
HASTY: dict[str, Any] = {"lease_seconds": 1.0, "send_seconds": 0.5}
"""For a worker that is to lose what it has in hand soon. All others take the time that a busy machine needs."""


async def eventually(check: Callable[[], Awaitable[bool]] | Callable[[], bool], seconds: float = 20) -> None:
    """Wait until the check returns true."""
    async with asyncio.timeout(seconds):
        while True:
            found = check()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


class Told:
    """The other processes, as far as one of them can tell."""

    def __init__(self) -> None:
        self.deliveries: list[str] = []

    def notify(self, delivery_ids: Sequence[str]) -> None:
        """Note them."""
        self.deliveries += delivery_ids

    def close(self) -> None:
        """Nothing to do."""


@dataclass
class Worker:
    """The parts of one worker process, running in this event loop."""

    parts: Parts
    registry: CollectorRegistry
    told: Told
    task: asyncio.Task[None]
    closed: bool = False

    async def close(self) -> None:
        """Close the sockets, which the end of a process does by itself."""
        if not self.closed:
            self.closed = True
            await self.parts.close()

    async def die(self) -> None:
        """End at once, wherever it is, as a process that is killed does: nothing is finished and nothing given back."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        await self.close()

    async def stop(self) -> None:
        """Stop warmly: attempts under way may end within the grace period."""
        self.parts.pump.stop()
        await self.task
        await self.close()

    def metrics(self) -> str:
        """Return the metrics in the format that Prometheus reads."""
        return generate_latest(self.registry).decode()


class StopAt(CrashPoints):
    """A crash point at which a worker waits: until it is killed, or until `resume` is set."""

    def __init__(self, point: str) -> None:
        self._point = point
        self.reached = asyncio.Event()
        self.resume = asyncio.Event()

    async def _at(self, point: str) -> None:
        if point == self._point:
            self.reached.set()
            await self.resume.wait()

    async def after_claim(self, delivery_ids: Sequence[str]) -> None:
        await self._at("after_claim" if delivery_ids else "")

    async def after_lease(self, deliveries: Sequence[Delivery]) -> None:
        await self._at("after_lease" if deliveries else "")

    async def before_send(self, delivery: Delivery) -> None:
        await self._at("before_send")

    async def after_send(self, delivery: Delivery) -> None:
        await self._at("after_send")

    async def before_settle(self, outcomes: Sequence[Outcome]) -> None:
        await self._at("before_settle")


@dataclass
class Office:
    """The database, the workers on it, and helpers to insert and read rows."""

    settings: Settings
    sql: asyncpg.Connection
    workers: list[Worker] = field(default_factory=list)

    async def start(
        self,
        crash_points: CrashPoints | None = None,
        *,
        resolver: AbstractResolver | None = None,
        settings: Settings | None = None,
        **worker: Any,
    ) -> Worker:
        """Start one more worker."""
        chosen = settings or self.with_worker(**worker)
        registry, told = CollectorRegistry(), Told()
        parts = assemble(chosen, Metrics(registry), told, crash_points=crash_points, resolver=resolver)
        await parts.open()
        started = Worker(parts, registry, told, asyncio.create_task(parts.pump.run()))
        self.workers.append(started)
        return started

    async def start_until(self, point: str, **worker: Any) -> tuple[Worker, StopAt]:
        """Start a worker, and wait until it has reached this crash point."""
        stop = StopAt(point)
        worker_there = await self.start(stop, **worker)
        async with asyncio.timeout(10):
            await stop.reached.wait()
        return worker_there, stop

    def with_worker(self, **worker: Any) -> Settings:
        """Return the settings with other values for the worker."""
        return self.but(WorkerSettings(**{**QUICK, **worker}))

    def but(self, *concerns: Any) -> Settings:
        """Return the settings with these concerns replaced."""
        own = (self.settings.email, self.settings.webhooks, self.settings.worker, self.settings.runtime)
        return make_settings(
            self.settings.database.url.get_secret_value(),
            self.settings.redis.url.get_secret_value(),
            *own,
            *concerns,
        )

    async def close(self) -> None:
        """Stop all workers and close the connections."""
        for worker in self.workers:
            await worker.die()
        await self.sql.close()

    async def account(self, *, verified: bool = False, **columns: Any) -> str:
        """Insert an account with reminders in the inbox, and by e-mail if `verified`; return its id."""
        number = next(_numbers)
        account_id = str(new_id())
        values = {
            "username": f"lin{number}",
            "email": f"lin{number}@example.com",
            "locale": "en",
            "timezone": "UTC",
            **columns,
        }
        await self.sql.execute(
            "INSERT INTO accounts (id, username, username_key, email, email_key, password_hash, locale, timezone,"
            " email_verified_at) VALUES ($1, $2, $2, $3, $3, 'x', $4, $5, CASE WHEN $6 THEN now() END)",
            account_id,
            values["username"],
            values["email"],
            values["locale"],
            values["timezone"],
            verified,
        )
        return account_id

    async def only(self, account_id: str, *channels: str) -> None:
        """Set the channels that an account's reminders go to."""
        await self.sql.execute(
            "INSERT INTO preferences (account_id, inbox, email, webhook) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (account_id) DO UPDATE SET inbox = $2, email = $3, webhook = $4",
            account_id,
            *(name in channels for name in ("inbox", "email", "webhook")),
        )

    async def webhook(self, account_id: str, url: str, **columns: Any) -> str:
        """Insert a webhook of the account; return its id."""
        webhook_id = str(new_id())
        columns = {"id": webhook_id, "account_id": account_id, "url": url, "secret": SECRET, **columns}
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        await self.sql.execute(f"INSERT INTO webhooks ({', '.join(columns)}) VALUES ({places})", *columns.values())
        return webhook_id

    async def webhook_account(self, url: str) -> str:
        """Insert an account whose reminders go to this webhook alone; return its id."""
        account_id = await self.account()
        await self.only(account_id, "webhook")
        await self.webhook(account_id, url)
        return account_id

    async def remind(
        self, account_id: str, title: str = "Buy milk", *, after: float = 0, due_after: float | None = None
    ) -> str:
        """Insert a todo whose reminder is due in `after` seconds; return the reminder's id."""
        todo_id, reminder_id = str(new_id()), str(new_id())
        await self.sql.execute(
            "INSERT INTO todos (id, owner_id, title, due_at, created_at, updated_at)"
            " VALUES ($1, $2, $3, now() + make_interval(secs => $4), now(), now())",
            todo_id,
            account_id,
            title,
            after if due_after is None else due_after,
        )
        await self.sql.execute(
            "INSERT INTO reminders (id, account_id, todo_id, at, remind_at, state)"
            " SELECT $1, $2, $3, t, t, 'scheduled' FROM (SELECT now() + make_interval(secs => $4) AS t) s",
            reminder_id,
            account_id,
            todo_id,
            after,
        )
        return reminder_id

    async def remind_often(self, account_id: str, count: int, *, after: float = 0) -> None:
        """Insert `count` todos, each with a reminder that is due in `after` seconds."""
        await self.sql.execute(
            "WITH made AS (INSERT INTO todos (id, owner_id, title, due_at, created_at, updated_at)"
            " SELECT gen_random_uuid(), $1, 'todo ' || i, now(), now(), now() FROM generate_series(1, $2) i"
            " RETURNING id)"
            " INSERT INTO reminders (id, account_id, todo_id, at, remind_at, state)"
            " SELECT gen_random_uuid(), $1, id, now(), now() + make_interval(secs => $3), 'scheduled' FROM made",
            account_id,
            count,
            after,
        )

    async def states(self, channel: str | None = None) -> dict[str, int]:
        """Return the number of deliveries in each state."""
        rows = await self.sql.fetch(
            "SELECT state, count(*) AS count FROM deliveries WHERE $1::text IS NULL OR channel = $1 GROUP BY state",
            channel,
        )
        return {row["state"]: row["count"] for row in rows}

    async def delivery(self) -> asyncpg.Record:
        """Return the only delivery."""
        (row,) = await self.sql.fetch("SELECT * FROM deliveries")
        return row

    async def settled(self, count: int = 1, seconds: float = 20) -> None:
        """Wait until `count` deliveries have a final state."""

        async def check() -> bool:
            done: int = await self.sql.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'pending'")
            return done >= count

        await eventually(check, seconds)


def office_settings(database_url: str, redis_url: str, smtp_port: int = 1) -> Settings:
    """Return settings with short times, a mail server on this machine, and webhooks allowed to it."""
    return make_settings(
        database_url,
        redis_url,
        RuntimeSettings(environment="test", public_url="https://todo.example.com"),
        WorkerSettings(**QUICK),
        EmailSettings(host="127.0.0.1", port=smtp_port, security="none", sender="Todo <reminders@todo.example.com>"),
        WebhookSettings(allowed_networks="127.0.0.0/8"),
    )
