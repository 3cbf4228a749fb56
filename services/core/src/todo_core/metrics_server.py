"""Serves a service's metrics to Prometheus: one of its processes adds up the counters of all.

Each process counts in its own files, in a shared folder (prometheus_client's multi-process mode). The process that
gets the port serves the sum. The counts of ended processes stay in it, as counters must not fall; they are merged
into one file of each kind, so that a service that restarts processes often does not fill the folder.
"""

import fcntl
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from todo_core.processes import is_running

if TYPE_CHECKING:
    from prometheus_client import Metric

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_OF_THE_DEAD = "dead"
_RETRY_SECONDS = 1.0
_log = structlog.get_logger(__name__)
_Value = tuple[float, float]
"""A number, and the time at which it was set."""
_Rule = Callable[[_Value, _Value], _Value]


def _add(one: _Value, other: _Value) -> _Value:
    return one[0] + other[0], 0.0


def _newest(one: _Value, other: _Value) -> _Value:
    return max(one, other, key=lambda value: value[1])


_RULES: dict[str, _Rule] = {"counter": _add, "histogram": _add, "gauge_mostrecent": _newest}


class MetricsServer:
    """Serves the metrics from one process. Call `choose` before prometheus_client is imported, `join` before counting.

    With port 0 there are no metrics, and the methods do nothing.
    """

    def __init__(self, directory: Path, host: str, port: int) -> None:
        self._directory = directory
        self._host = host
        self._port = port
        self._lock: int | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def choose(self) -> None:
        """Choose the folder for this process's files. prometheus_client reads it only at import.

        Raises:
            OSError: the folder cannot be made.
        """
        if self._port:
            self._directory.mkdir(parents=True, exist_ok=True)
            os.environ[_VARIABLE] = str(self._directory)

    def join(self) -> None:
        """Count in the folder until the process ends. The first process removes the files of earlier ones.

        Raises:
            OSError: the folder cannot be used.
        """
        if not self._port:
            return
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # other processes are running: keep their counts
        else:
            for path in self._directory.glob("*.db"):
                path.unlink()
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def serve(self) -> None:
        """Serve as soon as the port is free: another process of the service may hold it until it ends."""
        if self._port:
            self._thread = threading.Thread(target=self._serve, name="metrics_server", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Release the port for another process, and remove the gauges that hold only while this process lives."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        for path in self._directory.glob(f"gauge_live*_{os.getpid()}.db"):
            path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _serve(self) -> None:
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - see `choose`

        registry = CollectorRegistry()
        registry.register(_Sum(self._directory))
        told = None
        while not self._closing.is_set():
            try:
                server, thread = start_http_server(self._port, self._host, registry)
            except OSError as error:
                if told != error.errno:
                    _log.info("metrics_port_taken", port=self._port, reason=error.strerror)
                told = error.errno
                self._closing.wait(_RETRY_SECONDS)
                continue
            _log.info("metrics_served", port=self._port)
            self._closing.wait()
            server.shutdown()
            server.server_close()
            thread.join()


class _Sum:
    """Collects the counts of all processes, ended ones included."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folding = threading.Lock()

    def collect(self) -> "Iterable[Metric]":
        """Add the counts up. Called for each scrape, in its own thread."""
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - see `MetricsServer.choose`

        with self._folding:
            self._fold()
            collector: Any = MultiProcessCollector(None, str(self._directory))  # type: ignore[no-untyped-call]
            metrics: Iterable[Metric] = collector.collect()
            return metrics

    def _fold(self) -> None:
        dead: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self._directory.glob("*.db"):
            kind, _, pid = path.stem.rpartition("_")
            if pid == _OF_THE_DEAD or is_running(int(pid)):
                continue
            if kind.startswith("gauge_live"):
                path.unlink()
            elif kind in _RULES:
                dead[kind].append(path)
        for kind, paths in dead.items():
            self._fold_into(self._directory / f"{kind}_{_OF_THE_DEAD}.db", paths, _RULES[kind])

    def _fold_into(self, total: Path, paths: list[Path], rule: _Rule) -> None:
        from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - see `MetricsServer.choose`

        values: dict[str, _Value] = {}
        for path in [total, *paths] if total.exists() else paths:
            read: Any = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
            for key, value, at, _ in read:
                values[key] = rule(values[key], (value, at)) if key in values else (value, at)
        fresh = total.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        file: Any = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
        for key, (value, at) in values.items():
            file.write_value(key, value, at)
        file.close()
        fresh.rename(total)
        for path in paths:
            path.unlink()
