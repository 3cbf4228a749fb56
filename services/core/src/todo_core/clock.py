"""The only source of "now" in Python, and the range of instants that users may write.

Statements compare with the database's own clock.
"""

from datetime import UTC, datetime

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC)
"""The last microsecond of the calendar is left out: asyncpg writes it as PostgreSQL's `infinity`."""


def now() -> datetime:
    """Return the current instant, zone-aware, in UTC."""
    return datetime.now(UTC)
