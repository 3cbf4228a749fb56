"""Starts, finds and stops processes, so that none is left behind and no other process is touched."""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

STARTUP_SECONDS = 60  # PostgreSQL's recovery after a crash may take a while


class ServerError(RuntimeError):
    """A server could not be started; the message is a sentence for the person at the terminal."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def package_file(package: str, pattern: str) -> Path:
    """Return a file inside an installed package, without importing it: both register handlers that are not wanted."""
    spec = importlib.util.find_spec(package)
    for location in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(location).glob(pattern)):
            return path
    raise ServerError(
        f"The package {package} has no {pattern} for this system: {os.uname().sysname} {os.uname().machine}."
    )


def spawn(
    command: list[str], *, cwd: Path, log: Path, user: str | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """Start a server in its own process group, so that a terminal's Ctrl-C reaches only its parent, which stops it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )


def find(pid_file: Path, name: str, cwd: Path) -> psutil.Process | None:
    """Return the process of a pid file, if it lives and is the server of this directory.

    A pid alone proves nothing: after a crash it may belong to another process.
    """
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text(encoding="utf-8").splitlines()[0]))
        if name in process.name() and Path(process.cwd()).samefile(cwd):
            return process
    return None


def stop(
    process: psutil.Process, *, ask: signal.Signals, patience: float, insist: signal.Signals = signal.SIGKILL
) -> None:
    """Signal a process to stop, and kill it after its time limit. Does nothing when it is gone already."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(ask)
        with suppress(psutil.TimeoutExpired):
            process.wait(patience)
            return
        process.send_signal(insist)
        process.wait(10)


def stop_child(
    child: subprocess.Popen[bytes],
    *,
    ask: signal.Signals = signal.SIGTERM,
    patience: float,
    insist: signal.Signals = signal.SIGKILL,
) -> None:
    """Do the same to a child of this process, and reap it, so that no zombie stays."""
    if child.poll() is None:
        stop(psutil.Process(child.pid), ask=ask, patience=patience, insist=insist)
    child.wait()


def last_lines(log: Path, count: int = 5) -> str:
    """Return the end of a log, for a message about why a server did not start."""
    with suppress(OSError):
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    return ""


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a short-lived directory that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="todo-", ignore_cleanup_errors=True) as name:
        path = Path(name).resolve()
        path.chmod(0o711)  # root's PostgreSQL runs as another user, who must be able to pass through
        yield path


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process in the ordinary way, so that context managers and exit handlers run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
