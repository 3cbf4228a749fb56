"""The rules of sending: which deliveries are sent, when they are retried, and which wait for others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import Office, eventually
from todo_core.database import StatementPool
from todo_core.reminders.dispatch import Delivery, Dispatch
from todo_worker.crash_points import CrashPoints


async def meanwhile(office: Office, *statements: str) -> None:
    """A worker claims what is due and is gone; something happens; another worker comes."""
    pool = StatementPool(office.settings.database)
    assert (await Dispatch(pool).claim(100)).deliveries
    await pool.close()
    for statement in statements:
        await office.sql.execute(statement)
    await office.start()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE todos SET completed_at = now()",
        "UPDATE reminders SET occurrence = 2, state = 'scheduled', remind_at = now() + interval '1 day'",
        "UPDATE reminders SET state = 'cancelled'",
        "UPDATE webhooks SET active = false",
        "UPDATE accounts SET disabled_at = now()",
        "INSERT INTO preferences (account_id, webhook) SELECT id, false FROM accounts"
        " ON CONFLICT (account_id) DO UPDATE SET webhook = false",
    ],
)
async def test_what_was_done_moved_or_switched_off_meanwhile_is_not_announced(
    office: Office, http: HttpReceiver, change: str
) -> None:
    await office.remind(await office.webhook_account(http.url))
    await meanwhile(office, change)
    await office.settled()
    assert await office.states() == {"cancelled": 1}
    assert http.ledger == []


async def test_a_disabled_account_gets_no_reminder_and_others_do(office: Office) -> None:
    disable = "UPDATE accounts SET disabled_at = now() WHERE id = $1"
    claimed, due, other = [await office.account() for _ in range(3)]
    await office.remind(claimed)
    pool = StatementPool(office.settings.database)
    assert (await Dispatch(pool).claim(100)).deliveries
    await pool.close()
    await office.remind(due)
    for account in (claimed, due):
        await office.sql.execute(disable, UUID(account))
    await office.remind(other)
    await office.start()
    await office.settled(2)
    assert await office.states() == {"cancelled": 1, "sent": 1}
    assert await office.sql.fetchval("SELECT state FROM reminders WHERE account_id = $1", UUID(due)) == "skipped"
    assert [str(row[0]) for row in await office.sql.fetch("SELECT account_id FROM notifications")] == [other]


@pytest.mark.parametrize("change", ["DELETE FROM todos", "DELETE FROM reminders", "DELETE FROM accounts"])
async def test_what_was_deleted_meanwhile_is_not_announced(office: Office, change: str) -> None:
    await office.remind(await office.account(), "gone")
    await meanwhile(office, change)
    # What comes after it arrives, so the worker has been past it.
    await office.remind(await office.account(), "there")
    await office.settled()
    assert await office.states() == {"sent": 1}
    assert [row["title"] for row in await office.sql.fetch("SELECT title FROM notifications")] == ["there"]


@pytest.mark.parametrize("change", ["email_verified_at = NULL", "email = 'else@example.com', email_verified_at = NULL"])
async def test_a_mail_goes_only_to_the_address_that_is_proved_when_it_is_sent(
    office: Office, smtp: SmtpReceiver, change: str
) -> None:
    lin = await office.account(verified=True)
    await office.only(lin, "email")
    await office.remind(lin)
    await meanwhile(office, f"UPDATE accounts SET {change}")
    await office.settled()
    assert await office.states() == {"cancelled": 1}
    assert smtp.raw == []


# ---- failures


async def failing(office: Office, http: HttpReceiver, **worker: Any) -> None:
    """A webhook that answers 500, and a worker that tries."""
    http.status = 500
    await office.remind(await office.webhook_account(http.url))
    await office.start(**worker)


async def test_a_failed_delivery_is_tried_again_later_and_later(office: Office, http: HttpReceiver) -> None:
    await failing(office, http, retry_seconds=0.2, retry_longest_seconds=3_600)

    async def tried() -> bool:
        return bool(await office.sql.fetchval("SELECT attempts >= 4 FROM deliveries"))

    await eventually(tried)
    delivery = await office.delivery()
    assert (delivery["state"], delivery["last_error"]) == ("pending", "HTTP 500")


async def test_a_delivery_that_still_fails_after_its_time_is_dead(office: Office, http: HttpReceiver) -> None:
    await failing(office, http, give_up_seconds=0.3)
    await office.settled()
    delivery = await office.delivery()
    assert (delivery["state"], delivery["last_error"]) == ("dead", "HTTP 500")
    assert delivery["attempts"] > 1
    assert delivery["settled_at"] is not None


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 503])
async def test_nothing_but_success_is_success(office: Office, http: HttpReceiver, status: int) -> None:
    http.extra = f"location: {http.url}/elsewhere\r\n".encode()
    await failing(office, http)
    http.status = status

    async def tried() -> bool:
        return bool(await office.sql.fetchval("SELECT last_error = $1 FROM deliveries", f"HTTP {status}"))

    await eventually(tried)
    assert {posted.path for posted in http.ledger} == {"/"}  # the redirect was not followed


async def test_a_dropped_connection_is_a_failure_and_the_next_attempt_succeeds(
    office: Office, http: HttpReceiver
) -> None:
    http.behaviour = "drop"
    await failing(office, http)
    http.status = 200

    async def dropped() -> bool:
        return bool(await office.sql.fetchval("SELECT last_error = 'the connection was dropped' FROM deliveries"))

    await eventually(dropped)
    http.behaviour = "answer"
    await office.settled()
    assert await office.states() == {"sent": 1}


async def test_an_answer_without_an_end_is_read_no_further_than_it_has_to_be(
    office: Office, http: HttpReceiver
) -> None:
    http.body = b"x" * 10_000_000
    await failing(office, http)
    http.status = 200
    await office.settled()
    assert await office.states() == {"sent": 1}


# ---- who waits for whom


async def test_a_receiver_that_hangs_holds_back_only_its_own(
    office: Office, http: HttpReceiver, smtp: SmtpReceiver
) -> None:
    smtp.stalled = True
    http.paths["/hangs"] = "stall"
    unlucky = await office.account(verified=True)
    await office.webhook(unlucky, f"{http.url}/hangs")
    await office.remind_often(unlucky, 100, after=-10)  # ahead of all others
    lucky = await office.account()
    await office.webhook(lucky, f"{http.url}/answers")
    await office.remind_often(lucky, 100)
    await office.start(slots=60, webhook_slots=40, send_seconds=20, lease_seconds=60)

    async def arrived() -> bool:
        return await office.states("inbox") == {"sent": 200} and (await office.states("webhook")).get("sent") == 100

    await eventually(arrived)
    assert (await office.states("webhook"))["pending"] == 100


async def test_no_endpoint_gets_more_at_once_than_it_may(office: Office, http: HttpReceiver) -> None:
    lin = await office.webhook_account(http.url)
    await office.remind(lin)
    await office.start(endpoint_slots=4, send_seconds=20, lease_seconds=60)
    await office.settled()  # it answers, so it may have more than one at once
    http.behaviour = "stall"
    await office.remind_often(lin, 50)
    async with asyncio.timeout(10):
        await http.wait_for(1 + 4)
    for _ in range(3):
        await office.remind(lin)
    http.released.set()
    http.behaviour = "answer"
    await office.settled(54)
    assert http.most_under_way == 4


async def test_a_backlog_is_caught_up_with_from_its_end_and_fresh_reminders_need_not_wait_for_it(
    office: Office, http: HttpReceiver
) -> None:
    lin = await office.account()
    await office.only(lin, "webhook")
    for number in range(4):
        await office.webhook(lin, f"{http.url}/{number}")
    await office.remind_often(lin, 500, after=-3_600)
    await office.remind(lin, "fresh")
    await office.start(claim_batch=20, slots=16, webhook_slots=16)
    await office.settled(2_004)
    places = [index for index, posted in enumerate(http.ledger) if b'"fresh"' in posted.body]
    assert len(http.ledger) == 2_004
    assert max(places) < 500


async def test_other_processes_are_told_of_what_is_too_much_for_one(office: Office) -> None:
    lin = await office.account()
    await office.remind_often(lin, 300)
    worker = await office.start(slots=10)
    await office.settled(300)
    assert 0 < len(worker.told.deliveries) < 300


class Counting(CrashPoints):
    """Counts leases that found something."""

    def __init__(self) -> None:
        self.leased: list[int] = []

    async def after_lease(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            self.leased.append(len(deliveries))


async def test_a_wake_up_is_enough_and_is_not_needed(office: Office) -> None:
    steps = Counting()
    worker = await office.start(steps, poll_seconds=3_600)
    await office.remind(await office.account())
    await worker.parts.pump.claim()  # what a tick of beat's does
    await office.settled()
    assert steps.leased == [1]
    # A wake-up for what is there no more, and one for what never was.
    worker.parts.pump.wake([str((await office.delivery())["id"]), "00000000-0000-7000-8000-000000000000"])
    await office.remind(await office.account())
    await office.start(poll_seconds=0.1)  # without a notification
    await office.settled(2)
    assert await office.states() == {"sent": 2}
