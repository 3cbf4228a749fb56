"""A worker that stood still for longer than its lease (stopped, swapped out, starved) and then goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.receivers import HttpReceiver
from tests.worker_kit import HASTY, Office
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
