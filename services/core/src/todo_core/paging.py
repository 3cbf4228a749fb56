"""Keyset cursors: each stores where a page ended, so that the next page costs the same at any depth.

A cursor is opaque and URL-safe. It holds the last row's place and a digest of the query, so that it is refused with
another sort or filter instead of giving a wrong page.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import orjson

from todo_core.errors import Fault, Invalid

_DIGEST_BYTES = 6


@dataclass(frozen=True, slots=True)
class Place:
    """A row's place in an order: the value of its sort key (None: the row has none, and comes last) and its id."""

    key: str | datetime | None
    id: UUID


def _digest(query: str, body: bytes) -> bytes:
    return hashlib.blake2s(body, digest_size=_DIGEST_BYTES, person=b"cursor", key=_fold(query)).digest()


def _fold(query: str) -> bytes:
    return hashlib.blake2s(query.encode()).digest()


def encode_cursor(query: str, place: Place) -> str:
    """Return the cursor that continues `query` (its sort and filters, in one canonical spelling) after `place`."""
    body = orjson.dumps([place.key, place.id], option=orjson.OPT_UTC_Z)
    return base64.urlsafe_b64encode(_digest(query, body) + body).rstrip(b"=").decode("ascii")


def decode_cursor(query: str, cursor: str, *, key_is_instant: bool) -> Place:
    """Return the place in a cursor of this same query.

    Raises:
        Invalid: the text is no cursor of ours, or one of another sort or filter.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if digest != _digest(query, body):
            raise Invalid(Fault("cursor", "cursor"))
        key, row_id = orjson.loads(body)
        return Place(None if key is None else _instant(key) if key_is_instant else _text(key), UUID(row_id))
    except (binascii.Error, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid(Fault("cursor", "cursor")) from error


# The digest tells queries apart and is no signature: a cursor's content is checked as any other input.
def _instant(key: str) -> datetime:
    return datetime.fromisoformat(key).astimezone(UTC)


def _text(key: object) -> str:
    if not isinstance(key, str) or "\x00" in key:
        raise ValueError("no sort key")
    return key
