"""Real processes: Celery's worker and beat, and what becomes of reminders when Redis or one of them is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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
        """What it has said."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    async def says(self, name: str, text: str, times: int = 1) -> None:
        """Until it has said this so often."""

        def said() -> bool:
            assert self.running[name].poll() is None, self.log(name)
            return self.log(name).count(text) >= times

        await eventually(said, 40)

    def alive(self) -> int:
        """What a probe finds."""
        command = [sys.executable, "-m", "todo_worker.alive"]
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
    """Somebody who is told by every channel."""
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
