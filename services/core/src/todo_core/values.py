"""The kinds of values that people write: their rules, and how a JSON schema shows them. They know no HTTP.

A value that breaks a rule raises an error whose type is the rule's stable name; a door has words for it.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from todo_core.clock import EARLIEST, LATEST

TITLE_LENGTH = 200
DESCRIPTION_LENGTH = 10_000

HOUR_MINUTE = r"(?:[01]\d|2[0-3]):[0-5]\d"  # datetime.fromisoformat takes +08:99, and from Python 3.14 on 24:00
_TIMESTAMP = re.compile(
    rf"(\d{{4}}-\d{{2}}-\d{{2}})[Tt ]({HOUR_MINUTE}):(\d{{2}})(?:\.(\d+))?(?:([Zz])|([+-]{HOUR_MINUTE}))?", re.ASCII
)


def refusal(rule: str, **params: object) -> PydanticCustomError:
    """The error for a value that breaks a rule; `params` fill the rule's words."""
    return PydanticCustomError(rule, rule, params or None)


def parse_timestamp(value: object) -> datetime:
    """RFC 3339 with an offset, as UTC. Anything that a lax parser would guess at is refused.

    A leap second (`:60`) is the next minute's first; digits below the microsecond are cut off. The last microsecond of
    the year 9999, which is .NET's largest time, is the one before.
    """
    if isinstance(value, datetime):
        return value
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refusal("timestamp")
    date, minute, second, fraction, zulu, offset = match.groups()
    if zulu is None and offset is None:
        raise refusal("timestamp_offset")
    leap = second == "60"
    text = f"{date}T{minute}:{'59' if leap else second}.{(fraction or '0')[:6]:0<6}{offset or '+00:00'}"
    try:
        instant = datetime.fromisoformat(text).astimezone(UTC)
        if leap:
            instant = instant.replace(microsecond=0) + timedelta(seconds=1)
    except OverflowError:
        raise refusal("timestamp_range") from None
    except ValueError:
        raise refusal("timestamp") from None
    instant = min(instant, LATEST)
    if instant < EARLIEST:
        raise refusal("timestamp_range")
    return instant


def plain_text(value: str) -> str:
    """What PostgreSQL can keep: no NUL, and no half of a surrogate pair."""
    if "\x00" in value:
        raise refusal("nul")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise refusal("unicode")
    return value


def _title(value: str) -> str:
    value = plain_text(value).strip()
    if not value:
        raise refusal("blank")
    if len(value) > TITLE_LENGTH:
        raise refusal("max_length", max_length=TITLE_LENGTH)
    return value


def shown_as(**schema: Any) -> WithJsonSchema:
    """How a schema shows a kind, in place of what pydantic would make of it."""
    return WithJsonSchema(schema)


TIMESTAMP_SCHEMA = shown_as(
    type="string",
    format="date-time",
    description=f"RFC 3339, with its offset from UTC; from {EARLIEST:%Y-%m-%d} to 9999-12-31T23:59:59Z (never)",
    examples=["2026-12-01T09:00:00+08:00"],
)

Timestamp = Annotated[datetime, BeforeValidator(parse_timestamp), TIMESTAMP_SCHEMA]

Title = Annotated[
    str,
    AfterValidator(_title),
    shown_as(
        type="string",
        # 1 to 200 characters after trimming, none of them NUL.
        pattern=rf"^\s*[^\s\u0000]([^\u0000]{{0,{TITLE_LENGTH - 2}}}[^\s\u0000])?\s*$",
        examples=["Buy milk"],
        description=f"1 to {TITLE_LENGTH} characters; white space around them is removed",
    ),
]
Description = Annotated[
    str,
    Field(max_length=DESCRIPTION_LENGTH),
    AfterValidator(plain_text),
    shown_as(
        type="string", maxLength=DESCRIPTION_LENGTH, pattern=r"^[^\u0000]*$", examples=["Two litres, the blue one"]
    ),
]
