"""The settings of the HTTP API."""

import re
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from todo_core.settings.source import Concern

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?")
"""What a browser sends as Origin: no path, no slash at the end, the host in lower case. Any other matches nothing."""


class ApiSettings(Concern):
    """The HTTP API."""

    model_config = SettingsConfigDict(env_prefix="API_")

    docs_enabled: bool = Field(True, description="serve /docs, /redoc and /openapi.json")
    max_body_bytes: int = Field(1_048_576, ge=1_024, description="bytes of the largest request body; beyond, 413")
    cors_origins: str = Field(
        "",
        description="comma-separated origins whose pages may call the API, * for any; development adds localhost",
    )
    metrics_port: int = Field(0, ge=0, le=65_535, description="where Prometheus finds the API's metrics; 0: nowhere")
    metrics_host: str = Field("127.0.0.1", description="the address that this port is opened on")
    metrics_dir: Path = Field(
        Path("/tmp/todo-api-metrics"),  # noqa: S108 - a place for counters, nothing that is trusted
        description="where the processes that share this port leave their counters; lost at no cost",
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        if not all(_ORIGIN.fullmatch(origin.strip()) for origin in text.split(",") if origin.strip()):
            raise ValueError("must be origins, such as https://app.example.com: no path, no / at the end, lower case")
        return text

    @property
    def origins(self) -> list[str]:
        """Return the origins as a list."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]


class RateLimitSettings(Concern):
    """The limits of tries and mails. A network is an IPv4 address or an IPv6 /64. The proxy limits all requests."""

    model_config = SettingsConfigDict(env_prefix="RATE_LIMIT_")

    enabled: bool = Field(True, description="false: nothing but the mails of one account and to one address is limited")
    sign_in_failures: int = Field(20, ge=1, description="wrong passwords for one account from one network")
    account_failures: int = Field(
        30, ge=1, description="wrong passwords for one account from all networks that it has not signed in from"
    )
    network_failures: int = Field(
        40, ge=1, description="wrong passwords from one network for all accounts that have not signed in from it"
    )
    password_checks: int = Field(100, ge=1, description="right passwords for one account from one network")
    sign_in_window_seconds: int = Field(900, ge=1, description="seconds within which passwords count")
    known_seconds: int = Field(
        2_592_000, ge=1, description="seconds that an account's sign-in from a network is remembered"
    )
    registrations: int = Field(60, ge=1, description="accounts that one network may open")
    registration_window_seconds: int = Field(3_600, ge=1, description="seconds within which registrations count")
    mails_account: int = Field(5, ge=1, description="mails to unproven addresses that one account may ask for in a day")
    mails_network: int = Field(20, ge=1, description="the same of one network")
    mails_all: int = Field(1_000, ge=1, description="the same of everybody together")
    mail_pause_seconds: int = Field(
        86_400, ge=1, le=604_800, description="seconds between two of them to one address, whoever asks"
    )
