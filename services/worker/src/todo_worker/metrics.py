"""The worker's metrics: for Prometheus, and once a minute as a line in the log."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from todo_core import clock
from todo_core.reminders.dispatch import Backlog, Delivery, Outcome

_OUTCOMES = ("sent", "retried", "dead", "cancelled")
_LATENESS = (0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400)


class Metrics:
    """The metrics of one process. With PROMETHEUS_MULTIPROC_DIR set, the metrics server adds up all processes'."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ticks = Counter("todo_ticks", "Ticks of beat that reached a worker", registry=registry)
        self.claimed = Counter("todo_reminders_claimed", "Reminders that came due and were claimed", registry=registry)
        self.outcomes = Counter(
            "todo_deliveries",
            "Attempts by how they ended: sent, retried, dead, cancelled",
            ["channel", "outcome"],
            registry=registry,
        )
        self.lateness = Histogram(
            "todo_delivery_lateness_seconds",
            "From the time that a reminder was due to its being delivered",
            ["channel"],
            buckets=_LATENESS,
            registry=registry,
        )
        self.leases_expired = Counter(
            "todo_delivery_leases_expired",
            "Deliveries taken over from a process that never settled",
            ["channel"],
            registry=registry,
        )
        self.fences_lost = Counter(
            "todo_delivery_fences_lost",
            "Outcomes that came after the lease had passed on",
            ["channel"],
            registry=registry,
        )
        self.verification_mails = Counter(
            "todo_verification_mails", "Mails with a link to prove an address", ["outcome"], registry=registry
        )
        self.under_way = Gauge(
            "todo_deliveries_under_way", "Deliveries being sent", registry=registry, multiprocess_mode="livesum"
        )
        self.oldest_reminder = Gauge(
            "todo_reminders_oldest_due_seconds",
            "How long the oldest that is due waits to be claimed",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.oldest_delivery = Gauge(
            "todo_deliveries_oldest_pending_seconds",
            "How long the oldest that is due waits to be sent",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.backlog_seen = Gauge(
            "todo_backlog_timestamp_seconds",
            "When a worker last saw what is due and waits",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._line: dict[str, float] = {}

    def expect(self, channels: Iterable[str]) -> None:
        """Create the counters at 0: Prometheus sees no increase in a counter that appears with its first event."""
        for channel in channels:
            for outcome in _OUTCOMES:
                self.outcomes.labels(channel, outcome)
            self.leases_expired.labels(channel)
            self.fences_lost.labels(channel)

    def settled(self, delivery: Delivery, outcome: Outcome) -> None:
        """Count a delivery whose outcome was written."""
        name = "retried" if outcome.state == "pending" else outcome.state
        self.outcomes.labels(delivery.channel, name).inc()
        self._count(f"{name}.{delivery.channel}")
        if outcome.state == "sent":
            lateness = max(0.0, (clock.now() - delivery.due_at).total_seconds())
            self.lateness.labels(delivery.channel).observe(lateness)
            self._line["latest_seconds"] = max(self._line.get("latest_seconds", 0.0), round(lateness, 3))

    def leased(self, delivery: Delivery) -> None:
        """Count a delivery that was leased."""
        if delivery.lease_expired:
            self.leases_expired.labels(delivery.channel).inc()
            self._count(f"leases_expired.{delivery.channel}")

    def fence_lost(self, delivery: Delivery) -> None:
        """Count an outcome that was not written, because another process has leased the delivery since."""
        self.fences_lost.labels(delivery.channel).inc()
        self._count(f"fences_lost.{delivery.channel}")

    def backlog(self, backlog: Backlog) -> None:
        """Set the gauges of what is still waiting."""
        self.oldest_reminder.set(backlog.oldest_reminder_seconds)
        self.oldest_delivery.set(backlog.oldest_delivery_seconds)
        self.backlog_seen.set_to_current_time()
        self._line["oldest_reminder_seconds"] = round(backlog.oldest_reminder_seconds, 3)
        self._line["oldest_delivery_seconds"] = round(backlog.oldest_delivery_seconds, 3)

    def line(self) -> dict[str, Any]:
        """Return the fields of the log line: what changed since the last call."""
        line, self._line = self._line, {}
        return dict(sorted(line.items()))

    def _count(self, name: str) -> None:
        self._line[name] = self._line.get(name, 0) + 1
