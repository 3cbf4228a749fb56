"""The directory that `make run` keeps its data in, held by one run at a time."""

from __future__ import annotations

import fcntl
import json
import logging
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from dev.processes import ServerError, stop

log = logging.getLogger(__name__)


class DataDirectory:
    """A directory and the lock on it.

    The kernel releases the lock when its holder ends in any way, so no stale lock can be left behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._programs = self.path / "programs.json"

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a+", encoding="ascii")
        except OSError as error:
            message = (
                f"Cannot keep data in {self.path}: {error.strerror}. Choose another place: DATA_DIR=/path make run"
            )
            raise ServerError(message) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise ServerError(
                f"Another `make run` (pid {holder}) is using {self.path}.\n"
                "Stop it with Ctrl-C there, or give this one its own: DATA_DIR=.local-2 PORT=8001 make run"
            ) from error
        self._lock.truncate(0)
        self._lock.write(f"{psutil.Process().pid}\n")
        self._lock.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._programs.unlink(missing_ok=True)
        self._lock.truncate(0)
        self._lock.close()

    def remember(self, pids: Iterable[int]) -> None:
        """Record which programs run, so that a later run finds them if this one is killed."""
        programs = [{"pid": pid, "created": psutil.Process(pid).create_time()} for pid in pids]
        self._programs.write_text(json.dumps(programs), encoding="utf-8")

    def stop_left_overs(self) -> None:
        """Stop the programs of a run that was killed: they would hold the port."""
        if not self._programs.exists():
            return
        with suppress(ValueError):  # half written
            for program in json.loads(self._programs.read_text(encoding="utf-8")):
                with suppress(psutil.Error):
                    process = psutil.Process(program["pid"])
                    if abs(process.create_time() - program["created"]) < 2:  # else the pid is someone else's by now
                        log.info("Stopping a program that an earlier run left behind (pid %d).", process.pid)
                        stop(process, ask=signal.SIGTERM, patience=15)
        self._programs.unlink()
