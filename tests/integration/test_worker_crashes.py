"""Workers that die or pause at a crash point: another worker delivers, and only the holder of the lease may settle."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import HASTY, Office, eventually
from todo_core.database import StatementPool
from todo_core.reminders.dispatch import Delivery, Dispatch, Outcome

SENT_ALREADY = {"after_send", "before_settle"}


@pytest.mark.parametrize("point", ["after_claim", "after_lease", "before_send", "after_send", "before_settle"])
async def test_a_reminder_that_a_worker_had_in_hand_when_it_died_is_delivered_by_another_after_its_lease(
    office: Office, http: HttpReceiver, point: str
) -> None:
    await office.remind(await office.webhook_account(http.url))
    doomed, _ = await office.start_until(point, **HASTY)
    await doomed.die()
    assert len(http.ledger) == (1 if point in SENT_ALREADY else 0)
    assert await office.states() == {"pending": 1}
    lease_until = (await office.delivery())["lease_until"]

    worker = await office.start()
    await office.settled()
    assert await office.states() == {"sent": 1}
    # At least once, and every time under the same id.
    assert len(http.ledger) == (2 if point in SENT_ALREADY else 1)
    delivery = await office.delivery()
    assert set(http.ids()) == {str(delivery["id"])}
    if point != "after_claim":  # then it may have been leased already, or not
        assert delivery["settled_at"] > lease_until
        assert 'todo_delivery_leases_expired_total{channel="webhook"} 1.0' in worker.metrics()


@pytest.mark.parametrize("point", ["after_send", "before_settle"])
async def test_an_inbox_shows_a_reminder_once_although_two_workers_delivered_it(office: Office, point: str) -> None:
    await office.remind(await office.account())
    doomed, _ = await office.start_until(point, **HASTY)
    await doomed.die()
    await office.start()
    await office.settled()
    assert await office.states() == {"sent": 1}
    assert await office.sql.fetchval("SELECT count(*) FROM notifications") == 1


async def test_a_mail_that_two_workers_sent_carries_one_message_id(office: Office, smtp: SmtpReceiver) -> None:
    lin = await office.account(verified=True)
    await office.only(lin, "email")
    await office.remind(lin)
    doomed, _ = await office.start_until("after_send", **HASTY)
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


async def test_a_worker_whose_lease_has_passed_to_another_settles_nothing(office: Office, http: HttpReceiver) -> None:
    http.status = 500
    await office.remind(await office.webhook_account(http.url))
    slow, stop = await office.start_until("before_settle", give_up_seconds=1e-6, **HASTY)  # it would say `dead`
    http.status = 200
    http.behaviour = "stall"
    await office.start()
    async with asyncio.timeout(10):
        await http.wait_for(2)  # the other has it now

    stop.resume.set()
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


# ---- a worker that was paused for longer than its lease (stopped, swapped out, starved) and then resumes


@pytest.mark.parametrize("point", ["after_lease", "before_send"])
async def test_what_was_not_begun_before_its_lease_ended_is_not_sent_a_second_time(
    office: Office, http: HttpReceiver, point: str
) -> None:
    await office.remind(await office.webhook_account(http.url))
    paused, stop = await office.start_until(point, **HASTY)
    await office.start()
    await office.settled()
    assert len(http.ledger) == 1

    stop.resume.set()
    await paused.stop()
    assert len(http.ledger) == 1
    assert await office.states() == {"sent": 1}


async def test_what_nobody_else_took_meanwhile_is_sent_after_all(office: Office, http: HttpReceiver) -> None:
    await office.remind(await office.webhook_account(http.url))
    _, stop = await office.start_until("before_send", **HASTY)
    await asyncio.sleep(HASTY["lease_seconds"] - HASTY["send_seconds"] + 0.1)
    stop.resume.set()
    await office.settled()
    assert len(http.ledger) == 1
    assert await office.states() == {"sent": 1}


CHANGES = {
    "completed": "UPDATE todos SET completed_at = now()",
    "moved": "UPDATE reminders SET occurrence = 2, state = 'scheduled', remind_at = now() + interval '1 day'",
    "deleted": "DELETE FROM todos",
}


@pytest.mark.parametrize("point", ["after_lease", "before_send"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("channel", ["inbox", "email", "webhook"])
async def test_what_was_changed_while_a_worker_stood_still_with_it_is_not_announced(
    office: Office, http: HttpReceiver, smtp: SmtpReceiver, *, channel: str, change: str, point: str
) -> None:
    """Its lease is good, and said that the reminder is wanted."""
    lin = await office.account(verified=True)
    await office.only(lin, channel)
    await office.webhook(lin, http.url)
    await office.remind(lin)
    worker, stop = await office.start_until(point)
    await office.sql.execute(CHANGES[change])
    stop.resume.set()
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
    _, stop = await office.start_until("before_send")
    await office.sql.execute("UPDATE todos SET title = 'Buy tea', due_at = '2030-01-01T00:00:00Z'")
    stop.resume.set()
    await office.settled()
    (row,) = await office.sql.fetch("SELECT title, due_at::text AS due_at FROM notifications")
    assert tuple(row) == ("Buy tea", "2030-01-01 00:00:00+00")
