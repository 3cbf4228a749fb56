"""The collectors of the exporter: each takes its measurement at the time of the scrape."""

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import structlog
from cryptography import x509
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_log = structlog.get_logger(__name__)


class CertificateCollector(Collector):
    """Reads the certificate that a TLS server presents, whether it is trusted or not."""

    def __init__(self, address: tuple[str, int], name: str, timeout: float) -> None:
        self._address = address
        self._name = name
        self._timeout = timeout

    def collect(self) -> Iterator[Metric]:
        """Yield the certificate's end and total lifetime, if it could be read."""
        success = GaugeMetricFamily(
            "todo_certificate_probe_success", "1 if the server has shown a certificate", labels=["host"]
        )
        try:
            begin, end = self._life()
        except (OSError, ValueError) as error:  # a TLS error is an OSError too
            _log.warning("certificate_not_seen", host=self._name, reason=f"{type(error).__name__}: {error}")
            success.add_metric([self._name], 0)
        else:
            success.add_metric([self._name], 1)
            expiry = GaugeMetricFamily(
                "todo_certificate_expiry_timestamp_seconds", "When the server's certificate ends", labels=["host"]
            )
            expiry.add_metric([self._name], end)
            yield expiry
            lifetime = GaugeMetricFamily(
                "todo_certificate_lifetime_seconds", "From the certificate's beginning to its end", labels=["host"]
            )
            lifetime.add_metric([self._name], end - begin)
            yield lifetime
        yield success

    def _life(self) -> tuple[float, float]:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the connection sends no data: it only reads the certificate
        with (
            socket.create_connection(self._address, self._timeout) as plain,
            context.wrap_socket(plain, server_hostname=self._name) as tls,
        ):
            shown = tls.getpeercert(binary_form=True)
        if shown is None:
            raise ValueError("the server has shown none")
        certificate = x509.load_der_x509_certificate(shown)
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


class BackupCollector(Collector):
    """Counts the backups in a folder. A complete one has its checksum file beside it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        """Yield the number of backups, and the time and size of the newest."""
        try:
            backups = self._look()
        except OSError as error:
            _log.warning("backups_not_seen", directory=str(self._directory), reason=error.strerror)
            yield GaugeMetricFamily("todo_backup_probe_success", "1 if the folder of backups could be read", 0)
            return
        yield GaugeMetricFamily("todo_backup_probe_success", "1 if the folder of backups could be read", 1)
        yield GaugeMetricFamily("todo_backups", "Backups in the folder", len(backups))
        if backups:
            made_at, size = max(backups)
            yield GaugeMetricFamily(
                "todo_backup_last_success_timestamp_seconds", "When the newest backup was written", made_at
            )
            yield GaugeMetricFamily("todo_backup_last_bytes", "Bytes of the newest backup", size)

    def _look(self) -> list[tuple[float, int]]:
        with os.scandir(self._directory) as entries:
            files = {entry.name: entry for entry in entries}
        found = []
        for name, entry in files.items():
            if name.endswith(".dump") and f"{name}.sha256" in files:
                try:
                    status = entry.stat()
                except FileNotFoundError:  # removed between listing and reading, as too old
                    continue
                found.append((status.st_mtime, status.st_size))
        return found
