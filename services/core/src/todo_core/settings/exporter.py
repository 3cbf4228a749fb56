"""The settings of the metrics exporter, for the certificate and the backups."""

import re
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from todo_core.settings.source import Concern

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s\[\]:/]+)):(?P<port>\d{1,5})")


class ExporterSettings(Concern):
    """The metrics exporter, which measures the end of the certificate and the time of the last backup."""

    model_config = SettingsConfigDict(env_prefix="EXPORTER_")

    metrics_port: int = Field(9_000, ge=1, le=65_535, description="where Prometheus finds what the exporter sees")
    metrics_host: str = Field("127.0.0.1", description="the address that this port is opened on")
    tls_address: str = Field("", description="host:port whose certificate is looked at; without one, none is")
    tls_name: str = Field("", description="the server name to ask for there; without one, that of PUBLIC_URL")
    backup_dir: Path | None = Field(None, description="the folder whose backups are looked at; without one, none are")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="seconds to connect, or for one answer")

    @property
    def tls_host_and_port(self) -> tuple[str, int] | None:
        """Return the address, parsed."""
        match = _ADDRESS.fullmatch(self.tls_address)
        return None if match is None else (match["six"] or match["host"], int(match["port"]))

    @field_validator("tls_address")
    @classmethod
    def _is_address(cls, text: str) -> str:
        match = _ADDRESS.fullmatch(text)
        if text and (match is None or not 0 < int(match["port"]) < 2**16):
            raise ValueError("must be host:port, or [address]:port for IPv6")
        return text
