"""Primary keys: UUIDv7 (RFC 9562, section 5.7), so that new rows go to the end of an index."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """Return a new UUIDv7; within one process each is greater than the one before."""
    return uuid_utils.compat.uuid7()
