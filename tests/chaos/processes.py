"""The product's processes: Celery workers and beats, each in its own process group, to be killed by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.options import ENGINE, GRACE_SECONDS
from tests.conftest import TEST_KEYS

QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
PREFORK = 2


@dataclass
class CeleryProcess:
    """One worker or beat, which is started again after each fault."""

    name: str
    command: list[str]
    environment: dict[str, str]
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    groups: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start it in its own process group."""
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self.groups.append(self.process.pid)

    def running(self) -> bool:
        """Tell whether its main process lives."""
        return self.process is not None and self.process.poll() is None

    def children(self) -> list[int]:
        """Return the pids of a worker's prefork processes."""
        if self.process is None or self.process.poll() is not None:
            return []
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(self.process.pid).children()]
        return []

    def kill(self) -> None:
        """End all of its processes at once, as a crash of their machine would."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask_to_stop(self) -> bool:
        """Send SIGTERM; return False if it has not ended within its time."""
        if self.process is None or self.process.poll() is not None:
            return True
        self.process.terminate()
        try:
            self.process.wait(GRACE_SECONDS + 10)
        except subprocess.TimeoutExpired:
            return False
        return True


@dataclass
class Processes:
    """All workers and beats."""

    workers: list[CeleryProcess]
    beats: list[CeleryProcess]

    def all(self) -> list[CeleryProcess]:
        """Return workers and beats."""
        return [*self.workers, *self.beats]

    def pids(self) -> list[int]:
        """Return the processes that may send. One whose parent was killed stays in its worker's group."""
        groups = {group for worker in self.workers for group in worker.groups}
        return [pid for pid in psutil.pids() if _group(pid) in groups]

    def kill(self) -> None:
        """Kill all processes left in any group that was started here."""
        for program in self.all():
            program.kill()
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _group(pid: int) -> int | None:
    """Return the process group of a pid; None if it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        return os.getpgid(pid)
    return None


def make_processes(directory: Path, database_url: str, redis_url: str, smtp_port: int) -> Processes:
    """Make two workers of two processes and two beats, without starting them."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONUNBUFFERED": "1",
        "ENVIRONMENT": "test",
        "LOG_LEVEL": "INFO",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TOKEN_KEYS": TEST_KEYS,
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(smtp_port),
        "EMAIL_SECURITY": "none",
        **({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}),
        **ENGINE,
    }

    def program(name: str, *arguments: str) -> CeleryProcess:
        command = [sys.executable, "-m", "celery", "-A", "todo_worker.app", *arguments]
        own = environment | {"WORKER_STATE_DIR": str(directory / f"{name}-state")}
        return CeleryProcess(name, command, own, directory)

    return Processes(
        workers=[
            program(name, "worker", "--hostname", f"{name}@%h", "--concurrency", str(PREFORK), *QUIET)
            for name in ("worker1", "worker2")
        ],
        beats=[program(name, "beat") for name in ("beat1", "beat2")],
    )
