"""The options of a run, and the engine's shortened times."""

from __future__ import annotations

import argparse
import secrets
from dataclasses import dataclass

LEASE_SECONDS = 6.0
SEND_SECONDS = 3.0
GRACE_SECONDS = 5.0
SETTLE_SECONDS = 2.0
"""A healthy process settles an answered delivery within so many seconds, on a busy machine too."""
PATIENCE_SECONDS = 8.0
"""The longest wait of a process for its next try after PostgreSQL is back (the lease may have ended by then)."""
DRAIN_SECONDS = 150.0
"""The limit for all arrivals after the faults: a receiver that timed out is paused for up to 30 s."""

ENGINE = {
    "WORKER_POLL_SECONDS": "2",
    "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
    "WORKER_SEND_SECONDS": str(SEND_SECONDS),
    "WORKER_RETRY_SECONDS": "0.2",
    "WORKER_RETRY_LONGEST_SECONDS": "3",
    "WORKER_GRACE_SECONDS": str(GRACE_SECONDS),
    "WORKER_HEARTBEAT_SECONDS": "1",
    "EMAIL_TIMEOUT_SECONDS": "2.5",
    "WEBHOOK_CONNECT_SECONDS": "1",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    "DATABASE_CONNECT_TIMEOUT_SECONDS": "3",
    "DATABASE_STATEMENT_TIMEOUT_MS": "3000",
    "REDIS_TIMEOUT_MS": "250",
}
"""Settings with shorter times than in production, so that two minutes show the faults of a day."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run."""

    seconds: int
    seed: int
    todos: int
    keep: bool

    @property
    def faults_until(self) -> float:
        """Return the end of faults, in seconds after the start; later reminders show the recovery."""
        return self.seconds * 0.88


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Kill everything, lose nothing.")
    parser.add_argument("--seconds", type=int, default=120, help="how long reminders come due (120)")
    parser.add_argument("--seed", type=int, help="faults, behaviour of receivers and times are drawn from it (random)")
    parser.add_argument("--todos", type=int, help="how many todos with a reminder (25 a second, at most 10,000)")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run without violations, too")
    given = parser.parse_args(arguments)
    if not 20 <= given.seconds <= 3_600:
        parser.error("--seconds must be between 20 and 3600")
    todos = given.todos or min(25 * given.seconds, 10_000)
    if not 1 <= todos <= 50_000:
        parser.error("--todos must be between 1 and 50000")
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    return Options(given.seconds, seed, todos, given.keep)
