"""The settings of the worker, of two of its channels, and of the API's streams."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from todo_core.settings.source import Concern

Network = IPv4Network | IPv6Network
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class WorkerSettings(Concern):
    """The worker, which claims due reminders, leases and sends their deliveries, and settles them."""

    model_config = SettingsConfigDict(env_prefix="WORKER_")

    slots: int = Field(200, ge=1, le=10_000, description="deliveries that one process sends at once")
    inbox_slots: int = Field(100, ge=1, le=10_000, description="of these, at most so many to inboxes")
    webhook_slots: int = Field(150, ge=1, le=10_000, description="of these, at most so many to webhooks")
    endpoint_slots: int = Field(
        8, ge=1, le=1_000, description="of these, at most so many to one endpoint that answers; one to any other"
    )
    claim_batch: int = Field(500, ge=1, le=10_000, description="reminders claimed by one statement")
    poll_seconds: float = Field(
        5.0, gt=0, le=3_600, description="seconds after which a process looks by itself, should Redis or beat be gone"
    )
    lease_seconds: float = Field(
        30.0, gt=0, le=3_600, description="seconds that a delivery is one process's alone; then another sends it"
    )
    send_seconds: float = Field(
        10.0, gt=0, le=1_800, description="seconds that one attempt may take; at most half of the lease"
    )
    retry_seconds: float = Field(
        5.0, gt=0, le=3_600, description="seconds before the second attempt, at most; doubled with each, then drawn"
    )
    retry_longest_seconds: float = Field(3_600.0, gt=0, le=86_400, description="seconds between attempts, at most")
    give_up_seconds: float = Field(
        86_400.0, gt=0, le=2_592_000, description="seconds after which a delivery that still fails is given up"
    )
    grace_seconds: float = Field(
        20.0, gt=0, le=600, description="seconds to finish what is in hand when stopping; the rest is given back"
    )
    state_dir: Path = Field(
        Path("/tmp/todo-worker"),  # noqa: S108 - a place for heartbeats and counters, nothing that is trusted
        description="where processes leave their heartbeats and counters; lost at no cost",
    )
    heartbeat_seconds: float = Field(2.0, gt=0, le=60, description="seconds between two heartbeats of a process")
    alive_seconds: float = Field(
        30.0, gt=0, le=3_600, description="seconds after the last heartbeat, a process counts as dead"
    )
    metrics_port: int = Field(0, ge=0, le=65_535, description="where Prometheus finds the worker's metrics; 0: nowhere")
    metrics_host: str = Field("127.0.0.1", description="the address that this port is opened on")

    @model_validator(mode="after")
    def _lease_outlasts_sending(self) -> Self:
        # Otherwise another process could begin an attempt that is still under way.
        if self.send_seconds > self.lease_seconds / 2:
            raise ValueError("WORKER_SEND_SECONDS must be at most half of WORKER_LEASE_SECONDS")
        return self


class EmailSettings(Concern):
    """E-mail, sent through an SMTP server."""

    model_config = SettingsConfigDict(env_prefix="EMAIL_")

    host: str = Field("", description="the SMTP server; without one, no e-mail is sent")
    port: int = Field(587, ge=1, le=65_535, description="its port: 587 for submission, 465 for TLS from the start")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="starttls asks for TLS and refuses to go on without; none is for this machine alone"
    )
    username: str = Field("", description="empty: no sign-in")
    password: SecretStr | None = Field(None, description="for this user")
    sender: str = Field(
        "Todo <todo@localhost.localdomain>", description="the From: of every mail, with or without a name"
    )
    connections: int = Field(10, ge=1, le=200, description="connections of one process, so mails sent at once")
    timeout_seconds: float = Field(8.0, gt=0, le=600, description="seconds to connect, or for one answer")

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, sender: str) -> str:
        address = sender.rpartition("<")[2].removesuffix(">").strip()
        if "\n" in sender or "\r" in sender or address.count("@") != 1:
            raise ValueError("must be an address, or Name <address>")
        return sender


class WebhookSettings(Concern):
    """Webhooks: requests to addresses that users choose, and so restricted to public ones."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOK_")

    allowed_networks: str = Field(
        "", description="comma-separated networks (10.1.0.0/16) that may be called although they are not public"
    )
    connect_seconds: float = Field(5.0, gt=0, le=600, description="seconds to connect, TLS included")
    disable_after_seconds: int = Field(
        259_200, ge=1, description="seconds of nothing but failures after which a webhook is switched off"
    )

    secret_overlap_seconds: int = Field(
        86_400, ge=0, le=2_592_000, description="seconds that the secret before still signs beside a new one"
    )

    @property
    def networks(self) -> tuple[Network, ...]:
        """Return the networks, parsed."""
        return tuple(ip_network(text.strip()) for text in self.allowed_networks.split(",") if text.strip())

    @property
    def allows_loopback(self) -> bool:
        """Tell whether webhooks may reach this machine."""
        return any(
            network.version == loopback.version and network.overlaps(loopback)
            for network in self.networks
            for loopback in _LOOPBACK
        )

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for entry in filter(None, (part.strip() for part in text.split(","))):
            try:
                ip_network(entry)
            except ValueError:
                raise ValueError("must be networks such as 10.1.0.0/16 or fd00::/8, comma-separated") from None
        return text


class StreamSettings(Concern):
    """The streams of notifications (Server-Sent Events) that an API process holds open."""

    model_config = SettingsConfigDict(env_prefix="STREAM_")

    heartbeat_seconds: float = Field(
        15.0, gt=0, le=3_600, description="seconds of silence after which a comment shows that the stream lives"
    )
    poll_seconds: float = Field(
        2.0, gt=0, le=3_600, description="seconds after which PostgreSQL is asked, should Redis have said nothing"
    )
    send_seconds: float = Field(
        30.0, gt=0, le=3_600, description="seconds that a client may take to read what it is sent; then it is let go"
    )
    per_account: int = Field(10, ge=1, le=10_000, description="streams of one account in one process; beyond, 429")
    most: int = Field(
        1_000, ge=1, le=2_000, description="streams in one process, of its 2,048 connections; beyond, 503"
    )
