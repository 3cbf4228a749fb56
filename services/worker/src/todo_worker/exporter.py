"""`python -m todo_worker.exporter`: exports the end of the certificate and the time of the last backup to Prometheus.

No other process can export them: the certificate is nginx's, and a missing backup leaves no trace. Measurements are
taken at each scrape, so none is older than it. The exporter needs no secret and no database.

    python -m todo_worker.exporter            # GET /metrics, GET /livez, POST /alerts
    python -m todo_worker.exporter --probe    # exits with 0 while that answers, for health checks

`/alerts` is a webhook receiver for Alertmanager that logs one line for each alert: the default until an operator
configures another receiver.
"""

import http.client
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from todo_core import logs
from todo_core.settings import ConfigurationError, ExporterSettings, RuntimeSettings, load_one
from todo_worker.collectors import BackupCollector, CertificateCollector

_LONGEST_LOOK_SECONDS = 60.0
_LARGEST_BODY = 1_048_576
_log = structlog.get_logger(__name__)


class Exporter(ThreadingHTTPServer):
    """Serves the collectors' metrics to Prometheus, and takes alerts from Alertmanager."""

    daemon_threads = True

    def __init__(self, settings: ExporterSettings, public_url: str) -> None:
        self.registry = CollectorRegistry()
        if settings.tls_host_and_port is not None:
            name = settings.tls_name or urlsplit(public_url).hostname or settings.tls_host_and_port[0]
            self.registry.register(CertificateCollector(settings.tls_host_and_port, name, settings.timeout_seconds))
        if settings.backup_dir is not None:
            self.registry.register(BackupCollector(settings.backup_dir))
        self._looks: dict[int, float] = {}
        if ":" in settings.metrics_host:
            self.address_family = socket.AF_INET6
        super().__init__((settings.metrics_host, settings.metrics_port), _Handler)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Record when this scrape began."""
        thread = threading.get_ident()
        self._looks[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._looks[thread]

    @property
    def hangs(self) -> bool:
        """Tell whether a scrape takes too long, as with a network folder whose server is gone."""
        return any(time.monotonic() - since > _LONGEST_LOOK_SECONDS for since in list(self._looks.values()))

    def handle_error(self, *_: object) -> None:
        """Log the error as one line instead of the base's traceback; ignore a closed connection."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            _log.error("request_failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: Exporter
    timeout = 30

    def do_GET(self) -> None:
        if self.path == "/livez":
            self._answer(HTTPStatus.OK, b"alive\n")
        elif self.path == "/metrics":
            with self.server.looking():
                page = generate_latest(self.server.registry)
            self._answer(HTTPStatus.OK, page, CONTENT_TYPE_LATEST)
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if self.path != "/alerts":
            self._answer(HTTPStatus.NOT_FOUND)
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        try:
            alerts = [_fields(alert) for alert in orjson.loads(self.rfile.read(int(length)))["alerts"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        for alert in alerts:
            _log.warning("alert", **alert)
        self._answer(HTTPStatus.OK)

    def _answer(self, status: HTTPStatus, body: bytes = b"", content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the interface
        """Log nothing: a line for each scrape would bury the alerts."""


def _fields(alert: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": alert["status"],
        "alert": alert["labels"]["alertname"],
        "severity": alert["labels"].get("severity"),
        "summary": alert.get("annotations", {}).get("summary"),
        "starts_at": alert.get("startsAt"),
    }


def serve(settings: ExporterSettings, public_url: str) -> int:
    """Serve until SIGTERM; return the exit status."""
    try:
        exporter = Exporter(settings, public_url)
    except OSError as error:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        print(f"EXPORTER_METRICS_PORT: cannot listen on {where}: {error.strerror}.", file=sys.stderr)
        return 1
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    with exporter:
        answering = threading.Thread(target=exporter.serve_forever, name="exporter", daemon=True)
        answering.start()
        _log.info("exporter_started", port=settings.metrics_port)
        # Docker restarts nothing for being unhealthy: a process that cannot go on has to end.
        while answering.is_alive() and not exporter.hangs and not asked_to_stop.wait(1.0):
            pass
        exporter.shutdown()
    if asked_to_stop.is_set():
        return 0
    _log.critical("exporter_stuck")
    return 1


def probe(settings: ExporterSettings) -> int:
    """Check the exporter of this machine, and print on standard error what is wrong."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1"}.get(settings.metrics_host, settings.metrics_host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.metrics_port, timeout=settings.timeout_seconds)
    try:
        connection.request("GET", "/livez")
        if connection.getresponse().status == HTTPStatus.OK:
            return 0
        print("/livez does not answer as the exporter does.", file=sys.stderr)
    except (OSError, http.client.HTTPException) as error:
        print(f"/livez does not answer: {error}", file=sys.stderr)
    finally:
        connection.close()
    return 1


def main() -> int:
    """Serve, or probe with `--probe`."""
    try:
        settings = load_one(ExporterSettings)
        if sys.argv[1:] == ["--probe"]:
            return probe(settings)
        if sys.argv[1:]:
            print("usage: python -m todo_worker.exporter [--probe]", file=sys.stderr)
            return 2
        runtime = load_one(RuntimeSettings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    logs.configure(runtime)
    return serve(settings, runtime.public_url)


if __name__ == "__main__":
    sys.exit(main())
