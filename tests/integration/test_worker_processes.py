"""Real processes: Celery's worker and beat, and what becomes of reminders when Redis or one of them is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from redis.asyncio import Redis

from dev.processes import free_port
from dev.valkey import EmbeddedValkey
from tests.conftest import TEST_KEYS
from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import Office, eventually

QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat"]


class Processes:
    """Celery's processes on an office's servers."""

    def __init__(self, office: Office, redis_url: str, directory: Path, smtp: SmtpReceiver, **settings: str) -> None:
        self.directory = directory
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONUNBUFFERED": "1",
            "ENVIRONMENT": "test",
            "LOG_LEVEL": "DEBUG",
            "DATABASE_URL": office.settings.database.url.get_secret_value(),
            "REDIS_URL": redis_url,
            "TOKEN_KEYS": TEST_KEYS,
            "WORKER_STATE_DIR": str(directory / "state"),
            "WORKER_HEARTBEAT_SECONDS": "0.2",
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(smtp.port),
            "EMAIL_SECURITY": "none",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            **settings,
        }

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of Celery's commands."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "todo_worker.app", *arguments],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self.running[name] = process
        return process

    def start_worker(self, name: str = "worker", *options: str) -> subprocess.Popen[bytes]:
        """Start a worker of two processes."""
        return self.start(name, "worker", "--hostname", f"{name}@%h", "--concurrency", "2", *QUIET, *options)

    def start_beat(self) -> subprocess.Popen[bytes]:
        """Start beat."""
        return self.start("beat", "beat")

    def log(self, name: str) -> str:
        """Return the log of a process."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    async def says(self, name: str, text: str, times: int = 1) -> None:
        """Until it has said this so often."""

        def said() -> bool:
            assert self.running[name].poll() is None, self.log(name)
            return self.log(name).count(text) >= times

        await eventually(said, 40)

    def alive(self) -> int:
        """Run a probe; return its exit status."""
        command = [sys.executable, "-m", "todo_worker.probe"]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode

    def kill(self) -> None:
        """End everything that still runs, with its children."""
        for process in self.running.values():
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
            process.wait()


@pytest.fixture
def processes(office: Office, fragile_redis: EmbeddedValkey, tmp_path: Path, smtp: SmtpReceiver) -> Iterator[Processes]:
    """None yet."""
    made = Processes(office, fragile_redis.url, tmp_path, smtp)
    yield made
    made.kill()


async def add_person(office: Office, http: HttpReceiver) -> str:
    """Insert an account with every channel; return its id."""
    lin = await office.account(verified=True)
    await office.webhook(lin, http.url)
    return lin


async def ticks(processes: Processes, count: int) -> None:
    """Until beat has sent so many more ticks, and the worker has taken them."""
    name, text = "worker", '"event":"tick"'
    before = processes.log(name).count(text)
    await processes.says(name, text, before + count)


@pytest.mark.timeout(120)
async def test_a_reminder_arrives_everywhere_on_time_and_redis_may_be_killed_meanwhile(
    office: Office, http: HttpReceiver, smtp: SmtpReceiver, processes: Processes, fragile_redis: EmbeddedValkey
) -> None:
    lin = await add_person(office, http)
    processes.start_worker()
    processes.start_beat()
    await processes.says("worker", "runtime_started", 2)
    await ticks(processes, 1)
    await office.remind(lin, after=2)
    await office.settled(3)
    lateness = await office.sql.fetchval("SELECT max(extract(epoch FROM settled_at - due_at)) FROM deliveries")
    assert lateness < 2
    assert await office.states() == {"sent": 3}

    await asyncio.to_thread(fragile_redis.kill)
    await office.remind(lin, after=1)
    await office.settled(6, 30)  # by the workers' own look
    await asyncio.to_thread(fragile_redis.start)
    await ticks(processes, 3)  # beat and worker are back
    await office.remind(lin, after=1)
    await office.settled(9)
    assert await office.states() == {"sent": 9}
    assert len(http.ids()) == len(set(http.ids())) == 3
    assert len(smtp.raw) == 3


@pytest.mark.timeout(120)
async def test_a_worker_that_is_killed_loses_nothing_and_leaves_no_process_behind(
    office: Office, http: HttpReceiver, processes: Processes
) -> None:
    http.behaviour = "stall"
    lin = await add_person(office, http)
    await office.only(lin, "webhook")
    for path in "bcde":
        await office.webhook(lin, f"{http.url}/{path}")
    processes.environment |= {"WORKER_LEASE_SECONDS": "4", "WORKER_SEND_SECONDS": "2", "WORKER_POLL_SECONDS": "0.5"}
    doomed = processes.start_worker("doomed")
    await processes.says("doomed", "runtime_started", 2)
    await office.remind(lin)
    async with asyncio.timeout(20):
        await http.wait_for(5)
    children = psutil.Process(doomed.pid).children(recursive=True)
    doomed.kill()
    doomed.wait()
    _, living = await asyncio.to_thread(psutil.wait_procs, children, 15)
    assert living == []
    http.behaviour = "answer"
    processes.start_worker("heir")
    await office.settled(5, 30)
    assert await office.states() == {"sent": 5}
    assert len(set(http.ids())) == 5


@pytest.mark.timeout(120)
async def test_what_is_completed_while_a_worker_stands_still_in_a_burst_is_not_announced(
    office: Office, processes: Processes
) -> None:
    processes.environment |= {"WORKER_POLL_SECONDS": "0.2"}
    worker = processes.start_worker()
    await processes.says("worker", "runtime_started", 2)
    for _ in range(10):
        await office.remind_often(await office.account(), 100, after=2)
    told = "SELECT count(*) FROM notifications"

    async def begun() -> bool:
        return bool(await office.sql.fetchval(told))

    await eventually(begun)
    children = psutil.Process(worker.pid).children(recursive=True)
    for child in children:
        child.suspend()
    # The server finishes what they had sent. It calls a statement active, too, whose parameters it still waits for.
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND wait_event IS DISTINCT FROM 'ClientRead'"
    )

    async def done() -> bool:
        return bool(await office.sql.fetchval(busy) == 1)

    await eventually(done)
    completed = await office.sql.fetch(
        "UPDATE todos t SET completed_at = clock_timestamp() WHERE NOT EXISTS (SELECT FROM notifications n"
        " WHERE n.todo_id = t.id) RETURNING id"
    )
    assert len(completed) > 100, "it was a burst"
    for child in children:
        child.resume()
    await office.settled(1_000, 40)
    wrong = "SELECT count(*) FROM notifications n JOIN todos t ON t.id = n.todo_id WHERE n.created_at > t.completed_at"
    assert await office.sql.fetchval(wrong) == 0
    assert await office.sql.fetchval(told) == 1_000 - len(completed)


@pytest.mark.timeout(120)
async def test_a_process_of_a_worker_that_is_killed_is_replaced(office: Office, processes: Processes) -> None:
    processes.environment |= {"WORKER_POLL_SECONDS": "0.5"}
    worker = processes.start_worker()
    await processes.says("worker", "runtime_started", 2)
    assert processes.alive() == 0
    for child in psutil.Process(worker.pid).children():
        child.kill()
    await processes.says("worker", "runtime_started", 4)
    await office.remind(await office.account())
    await office.settled()
    assert processes.alive() == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "solo"])
async def test_a_warm_stop_finishes_what_is_in_hand_and_leaves_nothing_behind(
    office: Office, http: HttpReceiver, processes: Processes, pool: str
) -> None:
    http.behaviour = "stall"
    lin = await add_person(office, http)
    await office.only(lin, "webhook")
    for path in "bcde":
        await office.webhook(lin, f"{http.url}/{path}")
    processes.environment |= {"WORKER_POLL_SECONDS": "0.5"}
    worker = processes.start_worker("worker", "--pool", pool)
    await processes.says("worker", "runtime_started")
    await office.remind(lin)
    async with asyncio.timeout(20):
        await http.wait_for(5)
    assert processes.alive() == 0
    worker.send_signal(signal.SIGTERM)
    await eventually(lambda: "Warm shutdown" in processes.log("worker"), 10)
    http.released.set()
    assert await asyncio.to_thread(worker.wait, 20) == 0
    assert await office.states() == {"sent": 5}
    assert len(http.ids()) == 5
    assert list((processes.directory / "state").iterdir()) == []
    assert processes.alive() == 1


@pytest.mark.timeout(120)
async def test_prometheus_finds_the_sum_of_all_processes_at_the_parent(office: Office, processes: Processes) -> None:
    port = free_port()
    processes.environment |= {"WORKER_METRICS_PORT": str(port), "WORKER_POLL_SECONDS": "0.2"}
    processes.start_worker()
    await processes.says("worker", "runtime_started", 2)
    await processes.says("worker", "metrics_served")
    lin = await office.account()
    async with httpx.AsyncClient() as client:

        async def counted() -> bool:
            await office.remind(lin)
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            return re.search('^todo_deliveries_total{channel="inbox",outcome="sent"} [1-9]', text, re.M) is not None

        await eventually(counted)
        await office.settled(await office.sql.fetchval("SELECT count(*) FROM reminders"))

        async def complete() -> bool:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            sent = await office.sql.fetchval("SELECT count(*) FROM deliveries WHERE state = 'sent'")
            return f'todo_deliveries_total{{channel="inbox",outcome="sent"}} {sent}.0' in text

        await eventually(complete)


@pytest.mark.timeout(120)
async def test_ticks_that_nobody_takes_do_not_pile_up(processes: Processes, fragile_redis: EmbeddedValkey) -> None:
    async with Redis.from_url(fragile_redis.url) as redis:
        await redis.rpush("todo:reminders", *(b"{}" for _ in range(200)))
        processes.start_beat()
        await processes.says("beat", "tick_skipped", 2)
        assert await redis.llen("todo:reminders") == 200


async def test_a_worker_with_settings_that_are_refused_says_which_and_does_not_start(processes: Processes) -> None:
    processes.environment |= {"WORKER_SEND_SECONDS": "hunter2"}
    worker = processes.start_worker()
    assert await asyncio.to_thread(worker.wait, 30) != 0
    assert "WORKER_SEND_SECONDS: " in processes.log("worker")
    assert "hunter2" not in processes.log("worker")
    assert processes.alive() == 1
