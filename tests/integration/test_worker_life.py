"""A worker's stopping and outliving: warm stops, a database that goes away, proofs of addresses, metrics, purging."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import QUICK, Office, Worker, eventually
from todo_core.accounts.links import Links
from todo_core.database import StatementPool
from todo_core.ids import new_id
from todo_core.purge import Purge
from todo_core.settings import DatabaseSettings, WorkerSettings
from todo_worker.heartbeat import Heartbeat, dead_processes

# ---- a warm stop (that it finishes what is in hand: test_worker_processes)


async def in_hand(office: Office, http: HttpReceiver, **worker: Any) -> Worker:
    """A worker that waits for an answer."""
    http.behaviour = "stall"
    await office.remind(await office.webhook_account(http.url))
    started = await office.start(**{"send_seconds": 30, "lease_seconds": 60, **worker})
    async with asyncio.timeout(10):
        await http.wait_for(1)
    return started


async def test_a_warm_stop_gives_back_what_does_not_end_and_takes_no_longer_than_it_may(
    office: Office, http: HttpReceiver
) -> None:
    worker = await in_hand(office, http, grace_seconds=1)
    begun = time.monotonic()
    await worker.stop()
    assert time.monotonic() - begun < 1.5
    delivery = await office.delivery()
    assert (delivery["state"], delivery["lease_until"]) == ("pending", None)
    assert delivery["last_error"] == "given back by a worker that stopped"
    # Another need not wait for the lease of a minute.
    http.behaviour = "answer"
    await office.start()
    await office.settled(seconds=5)
    assert await office.states() == {"sent": 1}


async def test_a_warm_stop_does_not_wait_for_a_database_that_does_not_answer(office: Office) -> None:
    url = office.settings.database.url.get_secret_value()
    patient = DatabaseSettings(url=url, lock_timeout_ms=60_000, statement_timeout_ms=60_000)
    settings = office.but(WorkerSettings(**{**QUICK, "grace_seconds": 1.0}), patient)
    blocker = await asyncpg.connect(url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE reminders, deliveries IN ACCESS EXCLUSIVE MODE")
        worker = await office.start(settings=settings)

        async def both_wait() -> bool:
            waiting = "relation IN ('reminders'::regclass, 'deliveries'::regclass) AND NOT granted"
            return int(await blocker.fetchval(f"SELECT count(*) FROM pg_locks WHERE {waiting}")) >= 2

        await eventually(both_wait)
        worker.parts.pump.stop()
        async with asyncio.timeout(3):
            await worker.task
    await blocker.close()


async def test_a_worker_that_stops_takes_on_nothing_new(office: Office, http: HttpReceiver) -> None:
    worker = await in_hand(office, http, grace_seconds=1, poll_seconds=0.01)
    stopping = asyncio.create_task(worker.stop())
    await office.remind_often(await office.account(), 5)
    await stopping
    assert await office.sql.fetchval("SELECT count(*) FROM deliveries WHERE fence > 0") == 1


# ---- a database that goes away


async def test_a_worker_outlives_its_database_connections(office: Office, http: HttpReceiver) -> None:
    lin = await office.account()
    await office.webhook(lin, http.url)
    await office.start(poll_seconds=0.05)
    for _ in range(5):
        await office.remind_often(lin, 20)
        await office.sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'todo-worker'"
        )
    await office.settled(200)
    assert await office.states() == {"sent": 200}
    # Only what was cut off between sending and settling may have come twice.
    assert len(set(http.ids())) == 100


async def test_a_worker_waits_for_a_database_that_is_not_there_without_dying_or_spinning(
    office: Office, http: HttpReceiver
) -> None:
    nowhere = DatabaseSettings(url="postgresql://todo:todo@127.0.0.1:1/todo")
    with capture_logs() as lines:
        worker = await office.start(settings=office.but(nowhere))
        await eventually(lambda: sum(line["event"] == "lease_failed" for line in lines) >= 4)
        assert not worker.task.done()
    failures = [line for line in lines if line["event"] == "lease_failed"]
    assert len(failures) < 20
    assert all("exc_info" not in line for line in failures)  # an outage is no defect
    await worker.die()


async def test_a_sent_delivery_is_settled_once_the_database_is_back(office: Office, http: HttpReceiver) -> None:
    worker = await in_hand(office, http)
    # Nobody may connect, and those who are connected are cut off.
    url = office.settings.database.url.get_secret_value()
    admin = await asyncpg.connect(urlunsplit(urlsplit(url)._replace(path="/postgres")))
    name = await office.sql.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
    try:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = $1 AND application_name = 'todo-worker'",
            name,
        )
        with capture_logs() as lines:
            http.released.set()
            await eventually(lambda: any(line["event"] == "settle_failed" for line in lines))
        assert await office.states() == {"pending": 1}
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        await admin.close()
    await office.settled()
    assert await office.states() == {"sent": 1}
    assert len(http.ledger) == 1
    await worker.stop()


# ---- proofs of addresses


async def ask_for_proof(office: Office, **columns: Any) -> str:
    """An account that has asked for a link; the id of what it is to settle."""
    account_id = await office.account(**columns)
    verification_id = str(new_id())
    await office.sql.execute(
        "INSERT INTO email_verifications (id, account_id, email, email_key)"
        " SELECT $1, id, email, email_key FROM accounts WHERE id = $2",
        verification_id,
        account_id,
    )
    return verification_id


async def test_a_link_to_prove_an_address_is_sent_once(office: Office, smtp: SmtpReceiver) -> None:
    verification_id = await ask_for_proof(office, locale="zh-CN", email="lin.proof@example.com")
    workers = [await office.start() for _ in range(3)]
    sent = await asyncio.gather(*(worker.parts.verification.send_waiting() for worker in workers))
    assert sum(sent) == 1
    assert await workers[0].parts.verification.send_waiting() == 0
    (mail,) = smtp.mails()
    assert (mail["To"], mail["Subject"]) == ("lin.proof@example.com", "请确认您的邮箱地址")
    assert mail["List-Unsubscribe"] is None
    body = mail.get_body(("plain",))
    assert body is not None
    username = await office.sql.fetchval("SELECT username FROM accounts WHERE email = 'lin.proof@example.com'")
    assert username not in mail.as_string().replace("lin.proof@example.com", ""), "no words of whoever asked"
    assert username not in body.get_content()
    link = next(word for word in body.get_content().split() if word.startswith("https://"))
    assert link.startswith("https://todo.example.com/verify-email?token=")
    token = link.partition("token=")[2]
    assert str(Links(office.settings.tokens).read_verify_email(token)) == verification_id


async def test_a_link_is_not_sent_again_although_the_mail_was_lost(office: Office, smtp: SmtpReceiver) -> None:
    await ask_for_proof(office)
    smtp.data_reply = "451 4.3.0 try again"
    worker = await office.start()
    assert await worker.parts.verification.send_waiting() == 0
    smtp.data_reply = "250 OK"
    assert await worker.parts.verification.send_waiting() == 0
    assert smtp.raw == []
    assert 'todo_verification_mails_total{outcome="failed"} 1.0' in worker.metrics()


async def test_a_mail_server_that_is_down_uses_no_link_up(office: Office, smtp: SmtpReceiver) -> None:
    await ask_for_proof(office)
    down = office.but(office.settings.email.model_copy(update={"port": 1}))
    assert await (await office.start(settings=down)).parts.verification.send_waiting() == 0
    assert await (await office.start()).parts.verification.send_waiting() == 1
    assert len(smtp.raw) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accounts SET email = 'else@example.com'",
        "UPDATE accounts SET email_verified_at = now()",
        "UPDATE email_verifications SET created_at = now() - interval '4 days'",
        "UPDATE email_verifications SET used_at = now()",
    ],
)
async def test_a_link_that_would_be_of_no_use_is_not_sent(office: Office, smtp: SmtpReceiver, change: str) -> None:
    await ask_for_proof(office)
    await office.sql.execute(change)
    assert await (await office.start()).parts.verification.send_waiting() == 0
    assert smtp.raw == []


async def test_without_a_mail_server_mails_are_given_up_and_say_why(office: Office) -> None:
    lin = await office.account(verified=True)
    await office.only(lin, "email")
    await office.remind(lin)
    await office.start(settings=office.but(office.settings.email.model_copy(update={"host": ""})))
    await office.settled()
    delivery = await office.delivery()
    assert (delivery["state"], delivery["last_error"]) == ("dead", "no mail server is configured")


# ---- what it tells of itself


async def test_metrics_say_what_happened_and_how_late(office: Office, http: HttpReceiver) -> None:
    lin = await office.account()
    await office.webhook(lin, http.url)
    http.status = 500
    await office.remind(lin, after=-3)
    worker = await office.start()
    # Before its first event too: Prometheus sees no increase in a counter that appears with it.
    assert 'todo_deliveries_total{channel="webhook",outcome="dead"} 0.0' in worker.metrics()
    await eventually(lambda: 'todo_deliveries_total{channel="webhook",outcome="retried"} 0.0' not in worker.metrics())
    http.status = 200
    await office.settled(2)
    await eventually(lambda: 'todo_deliveries_total{channel="webhook",outcome="sent"} 1.0' in worker.metrics())
    text = worker.metrics()
    assert "todo_reminders_claimed_total 1.0" in text
    assert 'todo_deliveries_total{channel="inbox",outcome="sent"} 1.0' in text
    assert 'todo_delivery_lateness_seconds_bucket{channel="inbox",le="2.0"} 0.0' in text
    assert 'todo_delivery_lateness_seconds_count{channel="inbox"} 1.0' in text


async def test_the_backlog_is_measured_by_its_oldest(office: Office) -> None:
    worker = await office.start()
    dispatch = worker.parts.dispatch
    await worker.parts.pump.claim()
    assert (await dispatch.backlog()).oldest_reminder_seconds == 0
    worker.parts.pump.stop()
    await worker.task
    lin = await office.account()
    await office.remind(lin, after=-100)
    await office.remind(lin, after=-10)
    assert 100 <= (await dispatch.backlog()).oldest_reminder_seconds < 110
    await dispatch.claim(10)
    backlog = await dispatch.backlog()
    assert backlog.oldest_reminder_seconds == 0
    assert 100 <= backlog.oldest_delivery_seconds < 110


async def test_logs_name_no_title_no_address_and_no_query(office: Office, http: HttpReceiver) -> None:
    lin = await office.account(verified=True, email="hunter2@example.com", username="hunter3")
    await office.webhook(lin, f"{http.url}/?key=hunter4")
    http.status = 500
    await office.remind(lin, "hunter5")
    with capture_logs() as lines:
        worker = await office.start(give_up_seconds=0.2)
        await office.settled(3)
        await worker.stop()
    assert {"delivery_failed", "delivery_dead", "pump_stopped"} <= {line["event"] for line in lines}
    assert "hunter" not in repr(lines)
    assert "hunter" not in str(await office.sql.fetch("SELECT last_error FROM deliveries"))


# ---- signs of life


def heartbeats(directory: Path) -> WorkerSettings:
    """Settings for signs of life in a directory of the test's own."""
    return WorkerSettings(state_dir=directory / "state", alive_seconds=5, heartbeat_seconds=0.01)


async def test_a_process_is_alive_while_its_event_loop_is(tmp_path: Path) -> None:
    settings = heartbeats(tmp_path)
    assert dead_processes(settings) is None
    heart = Heartbeat(settings)
    beating = asyncio.create_task(heart.run())
    await eventually(lambda: dead_processes(settings) == [])
    beating.cancel()
    file = settings.state_dir / f"heartbeat-{os.getpid()}"
    os.utime(file, (time.time() - 10, time.time() - 10))
    assert dead_processes(settings) == [os.getpid()]
    heart.end()
    assert dead_processes(settings) is None


async def test_a_process_that_was_killed_is_not_missed(tmp_path: Path) -> None:
    settings = heartbeats(tmp_path)
    Heartbeat(settings).beat()
    gone = await asyncio.to_thread(subprocess.Popen, ["true"])
    await asyncio.to_thread(gone.wait)
    left = settings.state_dir / f"heartbeat-{gone.pid}"
    left.touch()
    os.utime(left, (0, 0))
    assert dead_processes(settings) == []
    assert not left.exists()


# ---- purging


async def test_purging_removes_what_nobody_needs_and_nothing_else(office: Office) -> None:
    lin = await office.account()
    await office.remind_often(lin, 30)
    worker = await office.start()
    await office.settled(30)
    await office.sql.execute(
        "UPDATE deliveries SET settled_at = now() - interval '91 days'"
        " WHERE id IN (SELECT id FROM deliveries ORDER BY id LIMIT 10)"
    )
    await office.sql.execute(
        "UPDATE deliveries SET state = 'pending', next_attempt_at = now() + interval '1 day'"
        " WHERE id IN (SELECT id FROM deliveries ORDER BY id LIMIT 3)"
    )
    await office.sql.execute(
        "INSERT INTO refresh_tokens (id, account_id, family_id, token_hash, expires_at)"
        " SELECT gen_random_uuid(), $1, gen_random_uuid(), sha256(i::text::bytea), now() + (i - 4) * interval '1 hour'"
        " FROM generate_series(1, 10) i",
        lin,
    )
    await ask_for_proof(office)
    await office.sql.execute("UPDATE email_verifications SET created_at = now() - interval '91 days'")
    await ask_for_proof(office)
    purge = Purge(worker.parts.statements)
    assert await purge.deliveries() == 7
    assert await purge.refresh_tokens() in {3, 4}  # one expires at this very moment
    assert await purge.verifications() == 1
    assert await purge.deliveries() == 0
    assert await office.sql.fetchval("SELECT count(*) FROM deliveries") == 23
    assert await office.sql.fetchval("SELECT count(*) FROM refresh_tokens WHERE expires_at > now()") == 6
    assert await office.sql.fetchval("SELECT count(*) FROM email_verifications") == 1


async def test_a_reminder_still_says_what_became_of_it_when_its_deliveries_have_been_removed(office: Office) -> None:
    ends = {
        "sent": ("sent", "dead"),
        "failed": ("dead", "cancelled"),
        "cancelled": ("cancelled",),
        "claimed": ("sent",),
    }
    lin = await office.account()
    reminders = {state: await office.remind(lin, after=3_600) for state in ends}
    for state, deliveries in ends.items():
        await office.sql.execute(
            "UPDATE reminders SET state = 'claimed', claimed_at = now() WHERE id = $1", reminders[state]
        )
        for number, delivery in enumerate(deliveries):
            await office.sql.execute(
                "INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at, state, settled_at)"
                " VALUES (gen_random_uuid(), $1, 1, $2, $3, now(), $4, now() - make_interval(days => $5))",
                reminders[state],
                f"channel{number}",
                lin,
                delivery,
                1 if state == "claimed" else 91,  # too young to be removed
            )
    # Done after it went out: what people see is that it was sent.
    await office.sql.execute("UPDATE reminders SET state = 'cancelled' WHERE id = $1", reminders["sent"])
    statements = StatementPool(office.settings.database)
    assert await Purge(statements).deliveries() == 5
    await statements.close()
    assert {row["id"]: row["state"] for row in await office.sql.fetch("SELECT id::text, state FROM reminders")} == {
        reminder: state for state, reminder in reminders.items()
    }
