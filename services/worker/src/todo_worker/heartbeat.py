"""Heartbeats of worker processes: each touches a file, and `probe.py` reads how old the files are."""

import asyncio
import os
import time
from contextlib import suppress

from todo_core.processes import is_running
from todo_core.settings import WorkerSettings

_PREFIX = "heartbeat-"


class Heartbeat:
    """The heartbeat file of this process."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._seconds = settings.heartbeat_seconds
        self._path = settings.state_dir / f"{_PREFIX}{os.getpid()}"
        settings.state_dir.mkdir(parents=True, exist_ok=True)

    def beat(self) -> None:
        """Show that this process is alive."""
        with suppress(OSError):  # a full disk must not end this process
            self._path.touch()

    async def run(self) -> None:
        """Beat from the event loop, so that the file shows when the loop hangs."""
        while True:
            self.beat()
            await asyncio.sleep(self._seconds)

    def end(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def dead_processes(settings: WorkerSettings) -> list[int] | None:
    """Return the processes that exist but whose heartbeat is too old; None if there is no process at all.

    The file of a process that was killed does not count: Celery has started another process for it.
    """
    ages = {}
    for path in settings.state_dir.glob(f"{_PREFIX}*"):
        with suppress(OSError, ValueError):
            pid = int(path.name.removeprefix(_PREFIX))
            if is_running(pid):
                ages[pid] = time.time() - path.stat().st_mtime
            else:
                path.unlink(missing_ok=True)
    if not ages:
        return None
    return sorted(pid for pid, age in ages.items() if age > settings.alive_seconds)
