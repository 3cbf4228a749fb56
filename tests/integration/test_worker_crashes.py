"""A worker may die at any line: another finds in the rows what is left to do, and only who has the lease may settle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import HASTY, Office, eventually
from todo_core.database import StatementPool
from todo_core.reminders.dispatch import Delivery, Dispatch, Outcome
from todo_worker.crash_points import CrashPoints


class StopAt(CrashPoints):
    """Comes to one line and gets no further: the process is killed there."""

    def __init__(self, line: str) -> None:
        self._line = line
        self.reached = asyncio.Event()

    async def _at(self, line: str) -> None:
        if line == self._line:
            self.reached.set()
            await asyncio.Event().wait()

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


SENT_ALREADY = {"after_send", "before_settle"}


@pytest.mark.parametrize("line", ["after_claim", "after_lease", "before_send", "after_send", "before_settle"])
async def test_a_reminder_that_a_worker_had_in_hand_when_it_died_is_delivered_by_another(
    office: Office, http: HttpReceiver, line: str
) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    await office.webhook(lin, http.url)
    await office.remind(lin)
    steps = StopAt(line)
    doomed = await office.start(steps, **HASTY)
    async with asyncio.timeout(10):
        await steps.reached.wait()
    await doomed.die()
    assert len(http.ledger) == (1 if line in SENT_ALREADY else 0)
    assert await office.states() == {"pending": 1}

    await office.start()
    await office.settled()
    assert await office.states() == {"sent": 1}
    # At least once, and every time under the same id.
    assert len(http.ledger) == (2 if line in SENT_ALREADY else 1)
    assert set(http.ids()) == {str((await office.delivery())["id"])}


@pytest.mark.parametrize("line", ["after_lease", "before_send", "after_send", "before_settle"])
async def test_what_a_worker_that_died_had_under_lease_is_left_alone_until_the_lease_ends(
    office: Office, http: HttpReceiver, line: str
) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    await office.webhook(lin, http.url)
    await office.remind(lin)
    steps = StopAt(line)
    doomed = await office.start(steps, **HASTY)
    async with asyncio.timeout(10):
        await steps.reached.wait()
    await doomed.die()
    lease_until = (await office.delivery())["lease_until"]
    worker = await office.start()
    await office.settled()
    assert (await office.delivery())["settled_at"] > lease_until
    assert 'todo_delivery_leases_expired_total{channel="webhook"} 1.0' in worker.metrics()


@pytest.mark.parametrize("line", ["after_send", "before_settle"])
async def test_an_inbox_shows_a_reminder_once_although_two_workers_delivered_it(office: Office, line: str) -> None:
    await office.remind(await office.account())
    steps = StopAt(line)
    doomed = await office.start(steps, **HASTY)
    async with asyncio.timeout(10):
        await steps.reached.wait()
    await doomed.die()
    await office.start()
    await office.settled()
    assert await office.states() == {"sent": 1}
    assert await office.sql.fetchval("SELECT count(*) FROM notifications") == 1


async def test_a_mail_that_two_workers_sent_carries_one_message_id(office: Office, smtp: SmtpReceiver) -> None:
    lin = await office.account(verified=True)
    await office.only(lin, "email")
    await office.remind(lin)
    steps = StopAt("after_send")
    doomed = await office.start(steps, **HASTY)
    async with asyncio.timeout(10):
        await steps.reached.wait()
    await doomed.die()
    await office.start()
    await office.settled()
    assert len({mail["Message-ID"] for mail in smtp.mails()}) == 1
    assert len(smtp.raw) == 2


async def test_two_workers_at_once_send_nothing_twice(office: Office, http: HttpReceiver) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    for path in range(20):
        await office.webhook(lin, f"{http.url}/{path}")
    await office.remind_often(lin, 20)
    await asyncio.gather(*(office.start(claim_batch=3, slots=40) for _ in range(3)))
    await office.settled(400)
    assert await office.states() == {"sent": 400}
    assert len(http.ids()) == len(set(http.ids())) == 400


# ---- fencing


class Delayed(CrashPoints):
    """Sends, and is then away for as long as it pleases the test: a process that was paused."""

    def __init__(self) -> None:
        self.sent = asyncio.Event()
        self.back = asyncio.Event()

    async def before_settle(self, outcomes: Sequence[Outcome]) -> None:
        self.sent.set()
        await self.back.wait()


async def test_a_worker_whose_lease_has_passed_to_another_settles_nothing(office: Office, http: HttpReceiver) -> None:
    http.status = 500
    lin = await office.account()
    await office.only(lin, "webhook")
    await office.webhook(lin, http.url)
    await office.remind(lin)
    steps = Delayed()
    slow = await office.start(steps, give_up_seconds=1e-6, **HASTY)  # it would say `dead`
    async with asyncio.timeout(10):
        await steps.sent.wait()
    http.status = 200
    http.behaviour = "stall"
    await office.start()
    async with asyncio.timeout(10):
        await http.wait_for(2)  # the other has it now

    steps.back.set()
    await eventually(lambda: 'todo_delivery_fences_lost_total{channel="webhook"} 1.0' in slow.metrics())
    assert await office.states() == {"pending": 1}
    http.released.set()
    await office.settled()
    assert await office.states() == {"sent": 1}


async def test_only_the_last_lease_can_settle(office: Office) -> None:
    await office.remind(await office.account())
    statements = StatementPool(office.settings.database)
    dispatch = Dispatch(statements)
    assert (await dispatch.claim(10)).reminders == 1
    (first,) = await lease(dispatch, timedelta(milliseconds=1))
    (second,) = await lease(dispatch, timedelta(minutes=1))
    assert await lease(dispatch, timedelta(minutes=1)) == []
    assert (first.id, second.fence, second.lease_expired) == (second.id, first.fence + 1, True)
    assert await dispatch.settle([Outcome(first.id, first.fence, "sent")]) == set()
    assert await office.states() == {"pending": 1}
    both = [Outcome(first.id, first.fence, "dead", "stale"), Outcome(second.id, second.fence, "sent")]
    assert await dispatch.settle(both) == {second.id}
    assert await office.states() == {"sent": 1}
    await statements.close()


async def lease(dispatch: Dispatch, length: timedelta) -> list[Delivery]:
    """Lease all deliveries that are free, or will be in a moment."""
    return await dispatch.lease(10, rooms={"inbox": 10}, per_endpoint=10, lease=length)
