"""Prometheus finds the metrics of all of a worker's processes at its parent, which adds them up from files."""

import os
import shutil
from pathlib import Path

from todo_core.settings import WorkerSettings

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def prepare(settings: WorkerSettings) -> None:
    """Choose where the processes count. To be called before prometheus_client is imported: it looks only then."""
    if not settings.metrics_port:
        return
    directory = settings.state_dir / "metrics"
    os.environ[_VARIABLE] = str(directory)
    directory.mkdir(parents=True, exist_ok=True)


def serve(settings: WorkerSettings) -> None:
    """Serve them, from the parent process."""
    if not settings.metrics_port:
        return
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - see above
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ[_VARIABLE])  # type: ignore[no-untyped-call]
    start_http_server(settings.metrics_port, settings.metrics_host, registry)


def forget(settings: WorkerSettings) -> None:
    """Remove what an earlier worker counted here."""
    if settings.metrics_port:
        shutil.rmtree(Path(os.environ[_VARIABLE]), ignore_errors=True)
        prepare(settings)
