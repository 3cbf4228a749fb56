"""A worker that stood still for longer than its lease (stopped, swapped out, starved) and then goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import HASTY, Office, eventually
from todo_core.reminders.dispatch import Delivery
from todo_worker.crash_points import CrashPoints


class Pause(CrashPoints):
    """Stands still at one line until it is let go on."""

    def __init__(self, line: str) -> None:
        self._line = line
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def after_lease(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._at("after_lease")

    async def before_send(self, delivery: Delivery) -> None:
        await self._at("before_send")

    async def _at(self, line: str) -> None:
        if line == self._line:
            self.reached.set()
            await self.go_on.wait()


@pytest.mark.parametrize("line", ["after_lease", "before_send"])
async def test_what_was_not_begun_before_its_lease_ended_is_not_sent_a_second_time(
    office: Office, http: HttpReceiver, line: str
) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    await office.webhook(lin, http.url)
    await office.remind(lin)
    pause = Pause(line)
    still = await office.start(pause, **HASTY)
    async with asyncio.timeout(10):
        await pause.reached.wait()
    await office.start()
    await office.settled()
    assert len(http.ledger) == 1

    pause.go_on.set()
    await still.stop()
    assert len(http.ledger) == 1
    assert await office.states() == {"sent": 1}


async def test_what_nobody_else_took_meanwhile_is_sent_after_all(office: Office, http: HttpReceiver) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    await office.webhook(lin, http.url)
    await office.remind(lin)
    pause = Pause("before_send")
    await office.start(pause, **HASTY)
    async with asyncio.timeout(10):
        await pause.reached.wait()
    await asyncio.sleep(HASTY["lease_seconds"] - HASTY["send_seconds"] + 0.1)
    pause.go_on.set()
    await office.settled()
    assert len(http.ledger) == 1
    assert await office.states() == {"sent": 1}


CHANGES = {
    "completed": "UPDATE todos SET completed_at = now()",
    "moved": "UPDATE reminders SET occurrence = 2, state = 'scheduled', remind_at = now() + interval '1 day'",
    "deleted": "DELETE FROM todos",
}


@pytest.mark.parametrize("line", ["after_lease", "before_send"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("channel", ["inbox", "email", "webhook"])
async def test_what_was_changed_while_a_worker_stood_still_with_it_is_not_announced(
    office: Office, http: HttpReceiver, smtp: SmtpReceiver, *, channel: str, change: str, line: str
) -> None:
    """Its lease is good, and said that the reminder is wanted."""
    lin = await office.account(verified=True)
    await office.only(lin, channel)
    await office.webhook(lin, http.url)
    await office.remind(lin)
    pause = Pause(line)
    worker = await office.start(pause)
    async with asyncio.timeout(10):
        await pause.reached.wait()
    await office.sql.execute(CHANGES[change])
    pause.go_on.set()
    if change == "deleted":
        await eventually(lambda: f'todo_delivery_fences_lost_total{{channel="{channel}"}} 1.0' in worker.metrics())
    else:
        await office.settled()
        assert await office.states() == {"cancelled": 1}
    assert (http.ledger, smtp.raw, await office.sql.fetchval("SELECT count(*) FROM notifications")) == ([], [], 0)


async def test_a_todo_whose_words_and_time_were_changed_meanwhile_is_announced_with_the_new_ones(
    office: Office,
) -> None:
    await office.remind(await office.account(), "Buy milk")
    pause = Pause("before_send")
    await office.start(pause)
    async with asyncio.timeout(10):
        await pause.reached.wait()
    await office.sql.execute("UPDATE todos SET title = 'Buy tea', due_at = '2030-01-01T00:00:00Z'")
    pause.go_on.set()
    await office.settled()
    (row,) = await office.sql.fetch("SELECT title, due_at::text AS due_at FROM notifications")
    assert tuple(row) == ("Buy tea", "2030-01-01 00:00:00+00")
