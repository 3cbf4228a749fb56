"""The only source of "now" in Python. What the database decides, the database's own clock decides."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current instant, zone-aware, in UTC."""
    return datetime.now(UTC)
