"""More of Celery's own processes: a stop while a receiver hangs, a process that stands still."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dev.valkey import EmbeddedValkey
from tests.integration.test_worker_processes import Processes, add_person
from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import Office, eventually


@pytest.fixture
def processes(office: Office, fragile_redis: EmbeddedValkey, tmp_path: Path, smtp: SmtpReceiver) -> Iterator[Processes]:
    """None yet."""
    made = Processes(office, fragile_redis.url, tmp_path, smtp)
    yield made
    made.kill()


@pytest.mark.timeout(120)
async def test_a_warm_stop_gives_back_what_a_receiver_holds_up_and_another_worker_sends_it(
    office: Office, http: HttpReceiver, processes: Processes
) -> None:
    http.behaviour = "stall"
    lin = await add_person(office, http)
    await office.only(lin, "webhook")
    for path in "bcde":  # one that has not answered yet gets one at a time
        await office.webhook(lin, f"{http.url}/{path}")
    grace = 4
    processes.environment |= {
        "WORKER_POLL_SECONDS": "0.5",
        "WORKER_SEND_SECONDS": "60",
        "WORKER_LEASE_SECONDS": "600",  # only what is given back can be sent by another in time
        "WORKER_GRACE_SECONDS": str(grace),
    }
    worker = processes.start_worker("first")
    await processes.says("first", "runtime_started", 2)
    await office.remind(lin)
    async with asyncio.timeout(20):
        await http.wait_for(5)
    asked = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 30) == 0
    assert time.monotonic() - asked < grace + 5  # the rest is what Celery takes to end, on a busy machine
    rows = await office.sql.fetch("SELECT state, lease_until, last_error FROM deliveries")
    assert {tuple(row) for row in rows} == {("pending", None, "given back by a worker that stopped")}
    http.behaviour = "answer"
    processes.start_worker("second")
    await office.settled(5, 30)
    assert await office.states() == {"sent": 5}
    assert len(set(http.ids())) == 5


@pytest.mark.timeout(120)
async def test_a_probe_tells_a_worker_that_stands_still_from_one_that_works(processes: Processes) -> None:
    processes.environment |= {"WORKER_ALIVE_SECONDS": "3"}
    worker = processes.start_worker()
    await processes.says("worker", "runtime_started", 2)
    assert await asyncio.to_thread(processes.alive) == 0
    still, _ = psutil.Process(worker.pid).children()
    still.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            while await asyncio.to_thread(processes.alive) == 0:  # as a probe does, time and again
                pass
    finally:
        still.send_signal(signal.SIGCONT)
    await eventually(lambda: processes.alive() == 0)
