"""Finds the process at the other end of a local connection, from /proc: TCP has no peer credentials."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

_LOOPBACK = "0100007F"


class Peers:
    """Finds the worker process that a connection comes from, among the pids of the workers.

    One scan answers for all connections open at that time: a burst opens hundreds, and a scan takes milliseconds.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self.stopped: set[int] = set()
        """The processes that are stopped at this moment."""
        self._connections: dict[tuple[int, int], str] = {}
        self._holders: dict[str, int] = {}

    def pid(self, peer_port: int, own_port: int) -> int | None:
        """Return the process that holds the socket with this local port; None if it has died."""
        # Each is looked up once. Results are not kept: the port may soon belong to another connection.
        key = (peer_port, own_port)
        socket = self._connections.pop(key, None)
        if socket is None:
            self._connections = _connections()
            socket = self._connections.pop(key, None)
        if socket is None:
            return None
        if socket not in self._holders:
            self._holders = _holders(self._pids())
        return self._holders.get(socket)


def _connections() -> dict[tuple[int, int], str]:
    """Return the sockets by their local and remote port."""
    found = {}
    with suppress(OSError):
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            (local, local_port), (remote, remote_port) = columns[1].split(":"), columns[2].split(":")
            if local == remote == _LOOPBACK and columns[9] != "0":
                found[int(local_port, 16), int(remote_port, 16)] = f"socket:[{columns[9]}]"
    return found


def _holders(pids: Iterable[int]) -> dict[str, int]:
    """Return the processes by the sockets that they hold."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - called often, and Path costs thrice
                with suppress(OSError):
                    found[os.readlink(f"/proc/{pid}/fd/{descriptor}")] = pid  # noqa: PTH115
    return found
