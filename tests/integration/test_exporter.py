"""The exporter, as a real process: it looks at a real TLS server and at real folders, each time that it is asked."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dev.processes import free_port
from tests.integration.test_processes import end, environment
from todo_core.settings import ExporterSettings
from todo_worker import exporter

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LIFETIME = timedelta(days=30)
_SAMPLE = re.compile(r"^(todo_\w+)(?:\{.*\})? (\S+)$", re.MULTILINE)


def make_certificate(directory: Path, name: str, end: datetime) -> Path:
    """A key and the certificate that it signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - LIFETIME)
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def tls_server(default: Path, **by_name: Path) -> Iterator[str]:
    """A TLS server that shows each name its own certificate; gives its address."""

    def context_of(path: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    contexts = {name: context_of(path) for name, path in by_name.items()}
    context = context_of(default)

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name in contexts:
            connection.context = contexts[name]

    context.sni_callback = choose
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:  # closed
                    return
                with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def hang_up(port: int) -> None:
    """Ask for metrics again and again, and reset the connection instead of reading them."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), 5) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")


class Running:
    """An exporter that runs."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.port = free_port()
        self.log = directory / "running.log"
        self.environment = environment(EXPORTER_METRICS_PORT=str(self.port), EXPORTER_TIMEOUT_SECONDS="2", **settings)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "todo_worker.exporter"],
                cwd=directory,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 20
        while self.probe() != 0:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            assert time.monotonic() < end

    def probe(self) -> int:
        """Run a probe; return its exit status."""
        command = [sys.executable, "-m", "todo_worker.exporter", "--probe"]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode

    def scrape(self) -> dict[str, float]:
        """Scrape; return the values by name, without labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as answer:
            return {name: float(value) for name, value in _SAMPLE.findall(answer.read().decode())}

    def post(self, body: bytes, path: str = "/alerts") -> int:
        """Post a body; return the status of the answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code


@contextmanager
def exporting(directory: Path, **settings: str) -> Iterator[Running]:
    """An exporter, as long as the block lasts."""
    running = Running(directory, **settings)
    try:
        yield running
    finally:
        end(running.process)


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    """An empty folder for backups."""
    directory = tmp_path / "backups"
    directory.mkdir()
    return directory


def back_up(directory: Path, name: str, size: int, at: datetime, *, checksum: bool = True) -> None:
    """A backup, whole or not."""
    (directory / name).write_bytes(b"x" * size)
    os.utime(directory / name, (at.timestamp(), at.timestamp()))
    if checksum:
        (directory / f"{name}.sha256").write_text("…", encoding="utf-8")


@pytest.mark.parametrize("end", [NOON + timedelta(days=3_000), NOON - timedelta(days=3_000)])
def test_the_end_of_the_certificate_is_told_whether_or_not_anybody_would_trust_it(
    end: datetime, tmp_path: Path
) -> None:
    with (
        tls_server(make_certificate(tmp_path, "todo.example", end)) as address,
        exporting(tmp_path, EXPORTER_TLS_ADDRESS=address) as running,
    ):
        assert running.scrape() == {
            "todo_certificate_expiry_timestamp_seconds": end.timestamp(),
            "todo_certificate_lifetime_seconds": LIFETIME.total_seconds(),
            "todo_certificate_probe_success": 1,
        }


@pytest.mark.parametrize("setting", [{"EXPORTER_TLS_NAME": "b.example"}, {"PUBLIC_URL": "https://b.example:8443/"}])
def test_it_is_the_certificate_of_the_name_that_is_asked_for(setting: dict[str, str], tmp_path: Path) -> None:
    one, other = NOON + timedelta(days=10), NOON + timedelta(days=20)
    servers = {"b.example": make_certificate(tmp_path, "b.example", other)}
    with (
        tls_server(make_certificate(tmp_path, "a.example", one), **servers) as address,
        exporting(tmp_path, EXPORTER_TLS_ADDRESS=address, **setting) as running,
    ):
        assert running.scrape()["todo_certificate_expiry_timestamp_seconds"] == other.timestamp()


def test_a_server_that_shows_no_certificate_is_told_apart_and_the_rest_is_still_told(
    tmp_path: Path, backups: Path
) -> None:
    settings = {"EXPORTER_BACKUP_DIR": str(backups), "EXPORTER_TLS_ADDRESS": f"127.0.0.1:{free_port()}"}
    with exporting(tmp_path, **settings) as running:
        assert running.scrape() == {
            "todo_certificate_probe_success": 0,
            "todo_backup_probe_success": 1,
            "todo_backups": 0,
        }
        assert "certificate_not_seen" in running.log.read_text(encoding="utf-8")


def test_the_newest_whole_backup_counts(tmp_path: Path, backups: Path) -> None:
    back_up(backups, "todo-1.dump", 10, NOON)
    back_up(backups, "todo-0.dump", 20, NOON + timedelta(hours=1))
    back_up(backups, "todo-2.dump", 30, NOON + timedelta(hours=2), checksum=False)
    back_up(backups, ".todo-3.dump.partial", 40, NOON + timedelta(hours=3))
    (backups / "todo-4.dump.sha256").write_text("…", encoding="utf-8")
    with exporting(tmp_path, EXPORTER_BACKUP_DIR=str(backups)) as running:
        assert running.scrape() == {
            "todo_backup_probe_success": 1,
            "todo_backups": 2,
            "todo_backup_last_success_timestamp_seconds": (NOON + timedelta(hours=1)).timestamp(),
            "todo_backup_last_bytes": 20,
        }
        back_up(backups, "todo-5.dump", 50, NOON + timedelta(hours=5))
        assert running.scrape()["todo_backup_last_bytes"] == 50  # it looks when it is asked


def test_a_folder_that_is_not_there_is_told_apart_from_an_empty_one(tmp_path: Path) -> None:
    with exporting(tmp_path, EXPORTER_BACKUP_DIR=str(tmp_path / "nowhere")) as running:
        assert running.scrape() == {"todo_backup_probe_success": 0}


def test_with_nothing_to_look_at_it_says_nothing_and_lives(tmp_path: Path) -> None:
    with exporting(tmp_path) as running:
        assert running.scrape() == {}
        assert running.post(b"", "/metrics") == 404


def test_alerts_that_are_posted_become_log_lines(tmp_path: Path) -> None:
    alert = {
        "status": "firing",
        "labels": {"alertname": "RemindersLate", "severity": "page"},
        "annotations": {"summary": "Reminders are late"},
        "startsAt": "2026-12-01T12:00:00Z",
    }
    with exporting(tmp_path) as running:
        assert running.post(json.dumps({"alerts": [alert]}).encode()) == 200
        for nonsense in (b"", b"{", b"[]", b'{"alerts": [{}]}', b'{"alerts": 1}'):
            assert running.post(nonsense) == 400
        lines = [json.loads(line) for line in running.log.read_text(encoding="utf-8").splitlines()]
    (line,) = [line for line in lines if line["event"] == "alert"]
    assert (line["state"], line["alert"], line["severity"]) == ("firing", "RemindersLate", "page")
    assert line["summary"] == "Reminders are late"
    assert all("Traceback" not in line.get("exception", "") for line in lines)


def test_it_stops_when_it_is_asked_to_and_a_probe_sees_that(tmp_path: Path) -> None:
    with exporting(tmp_path) as running:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
        assert running.probe() == 1
        assert "Traceback" not in running.log.read_text(encoding="utf-8")


def test_a_scraper_that_hangs_up_leaves_no_traceback_in_the_log(tmp_path: Path, backups: Path) -> None:
    with exporting(tmp_path, EXPORTER_BACKUP_DIR=str(backups)) as running:
        hang_up(running.port)
        assert running.scrape()["todo_backups"] == 0
        assert "Traceback" not in running.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"EXPORTER_METRICS_PORT": "taken"}, "EXPORTER_METRICS_PORT: cannot listen on 127.0.0.1:{port}: "),
        ({"EXPORTER_TLS_ADDRESS": "nginx"}, "EXPORTER_TLS_ADDRESS: must be host:port"),
        ({"EXPORTER_TLS_ADDRESS": "nginx:99999"}, "EXPORTER_TLS_ADDRESS: must be host:port"),
        ({"EXPORTER_TIMEOUT_SECONDS": "long"}, "EXPORTER_TIMEOUT_SECONDS: Input should be a valid number"),
    ],
)
def test_what_it_cannot_do_gets_a_sentence(setting: dict[str, str], sentence: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [sys.executable, "-m", "todo_worker.exporter"],
            cwd=tmp_path,
            env=environment(**{name: port if value == "taken" else value for name, value in setting.items()}),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert result.returncode == 1
    assert sentence.format(port=port) in result.stderr
    assert "Traceback" not in result.stderr


def test_an_exporter_whose_look_never_ends_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "_LONGEST_LOOK_SECONDS", 0.5)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
        settings = ExporterSettings(
            metrics_port=free_port(), tls_address=f"127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=20
        )

        def ask() -> None:
            end = time.monotonic() + 10
            while time.monotonic() < end:
                with suppress(OSError), socket.create_connection(("127.0.0.1", settings.metrics_port), 1) as asking:
                    asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    return

        asking = threading.Thread(target=ask)
        asking.start()
        assert exporter.serve(settings, "http://localhost") == 1
        asking.join()
    for number, handler in handlers.items():
        signal.signal(number, handler)
