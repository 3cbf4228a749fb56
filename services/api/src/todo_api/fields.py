"""The kinds of values that requests carry: their rules, and how OpenAPI shows them."""

import re
import unicodedata
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from todo_core.accounts.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH
from todo_core.clock import EARLIEST, LATEST
from todo_core.reminders.schedule import Offset
from todo_core.todos.models import DESCRIPTION_LENGTH, TITLE_LENGTH
from todo_core.webhooks.service import URL_LENGTH

_HOUR_MINUTE = r"(?:[01]\d|2[0-3]):[0-5]\d"  # datetime.fromisoformat takes +08:99, and from Python 3.14 on 24:00
_TIMESTAMP = re.compile(
    rf"(\d{{4}}-\d{{2}}-\d{{2}})[Tt ]({_HOUR_MINUTE}):(\d{{2}})(?:\.(\d+))?(?:([Zz])|([+-]{_HOUR_MINUTE}))?", re.ASCII
)
_USERNAME = re.compile(r"[\w.-]{3,50}")
_LONGEST_LOGIN = 254
"""An e-mail address's greatest length (RFC 5321). Longer text is not even looked at: bringing a megabyte of combining
marks to its normal form takes a minute."""
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_WEBHOOK_URL = (
    r"[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
    r"([/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?"
)
_LOCALE = re.compile(r"(en|zh)(-[A-Za-z0-9]{2,8}){0,3}")


def _refuse(rule: str, **params: object) -> PydanticCustomError:
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
        raise _refuse("timestamp")
    date, minute, second, fraction, zulu, offset = match.groups()
    if zulu is None and offset is None:
        raise _refuse("timestamp_offset")
    leap = second == "60"
    text = f"{date}T{minute}:{'59' if leap else second}.{(fraction or '0')[:6]:0<6}{offset or '+00:00'}"
    try:
        instant = datetime.fromisoformat(text).astimezone(UTC)
        if leap:
            instant = instant.replace(microsecond=0) + timedelta(seconds=1)
    except OverflowError:
        raise _refuse("timestamp_range") from None
    except ValueError:
        raise _refuse("timestamp") from None
    instant = min(instant, LATEST)
    if instant < EARLIEST:
        raise _refuse("timestamp_range")
    return instant


def _timestamp_in_query(value: object) -> datetime:
    # An unescaped + of an offset arrives as a space.
    if isinstance(value, str):
        value = re.sub(r"(?<=[0-9]) (?=\d{2}:\d{2}$)", "+", value)
    return parse_timestamp(value)


def _text(value: str) -> str:
    """What PostgreSQL can keep: no NUL, and no half of a surrogate pair."""
    if "\x00" in value:
        raise _refuse("nul")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _refuse("unicode")
    return value


def _title(value: str) -> str:
    value = _text(value).strip()
    if not value:
        raise _refuse("blank")
    if len(value) > TITLE_LENGTH:
        raise _refuse("max_length", max_length=TITLE_LENGTH)
    return value


def _username(value: str) -> str:
    value = unicodedata.normalize("NFC", value) if len(value) <= _LONGEST_LOGIN else ""
    if not _USERNAME.fullmatch(value):
        raise _refuse("username")
    return value


def _email(value: str) -> str:
    if len(value) > _LONGEST_LOGIN:
        raise _refuse("email")
    try:
        return validate_email(value, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        raise _refuse("email") from None


@lru_cache(maxsize=1)
def _timezones() -> tuple[str, ...]:
    """The names in the tzdata wheel: the same on every machine, whatever its own zone database holds."""
    return tuple(sorted(files("tzdata").joinpath("zones").read_text(encoding="ascii").split()))


class _TimeZoneSchema:
    """Shows the names in OpenAPI, read when it is asked for: nothing happens at import."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "string",
            "enum": list(_timezones()),
            "examples": ["Asia/Shanghai"],
            "description": "an IANA time zone",
        }


def _timezone(value: str) -> str:
    if value not in _timezones():
        raise _refuse("timezone")
    return value


def _locale(value: str) -> str:
    if not _LOCALE.fullmatch(value):
        raise _refuse("locale")
    return value


def _shown_as(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema(schema)


_TIMESTAMP_SCHEMA = _shown_as(
    type="string",
    format="date-time",
    description=f"RFC 3339, with its offset from UTC; from {EARLIEST:%Y-%m-%d} to 9999-12-31T23:59:59Z (never)",
    examples=["2026-12-01T09:00:00+08:00"],
)

Timestamp = Annotated[datetime, BeforeValidator(parse_timestamp), _TIMESTAMP_SCHEMA]
QueryTimestamp = Annotated[datetime, BeforeValidator(_timestamp_in_query), _TIMESTAMP_SCHEMA]

Title = Annotated[
    str,
    AfterValidator(_title),
    _shown_as(
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
    AfterValidator(_text),
    _shown_as(
        type="string", maxLength=DESCRIPTION_LENGTH, pattern=r"^[^\u0000]*$", examples=["Two litres, the blue one"]
    ),
]
Username = Annotated[
    str,
    AfterValidator(_username),
    _shown_as(
        type="string",
        pattern=r"^[\w.-]{3,50}$",
        examples=["lin"],
        description="3 to 50 letters of any script, digits, dots, hyphens or underscores; unique whatever its case",
    ),
]
Login = Annotated[
    str,
    Field(max_length=_LONGEST_LOGIN),
    AfterValidator(_text),
    _shown_as(type="string", maxLength=_LONGEST_LOGIN, pattern=r"^[^\u0000]*$", examples=["lin"]),
]
"""A username or an e-mail address that is only looked up."""
Email = Annotated[
    str,
    AfterValidator(_email),
    _shown_as(
        type="string",
        format="email",
        maxLength=_LONGEST_LOGIN,
        examples=["lin@example.com"],
        description="unique whatever its case",
    ),
]
Password = Annotated[
    str,
    Field(min_length=MINIMUM_LENGTH, max_length=MAXIMUM_LENGTH),
    AfterValidator(_text),
    _shown_as(
        type="string",
        format="password",
        minLength=MINIMUM_LENGTH,
        maxLength=MAXIMUM_LENGTH,
        pattern=r"^[^\u0000]*$",
        examples=["correct horse battery staple"],
        description=f"{MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters, all of which count",
    ),
]
GivenPassword = Annotated[
    str,
    Field(max_length=MAXIMUM_LENGTH),
    _shown_as(type="string", format="password", maxLength=MAXIMUM_LENGTH, examples=["correct horse battery staple"]),
]
"""A password that is only compared: what could never be one is simply wrong."""
TimeZone = Annotated[
    str,
    AfterValidator(_timezone),
    _TimeZoneSchema(),
]
Locale = Annotated[
    str,
    AfterValidator(_locale),
    _shown_as(
        type="string",
        pattern=rf"^{_LOCALE.pattern}$",
        examples=["zh-CN"],
        description="the language that the account is written to in: a tag of English or Chinese",
    ),
]


def _duration(value: object) -> Offset:
    if isinstance(value, Offset):
        return value
    try:
        return Offset.parse(value if isinstance(value, str) else "")
    except ValueError:
        raise _refuse("duration") from None


Duration = Annotated[
    Offset,
    BeforeValidator(_duration),
    PlainSerializer(str),
    _shown_as(
        type="string",
        # Narrower than what is read, so that everything that matches is short enough.
        pattern=r"^P(\d{1,2}D(T(\d{1,2}H)?(\d{1,3}M)?\d{1,3}S)?|T(\d{1,3}H)?(\d{1,4}M)?\d{1,5}S|T\d{1,4}M|T\d{1,3}H|\d{1,2}W)$",
        examples=["PT30M"],
        description="an ISO 8601 duration of weeks, days, hours, minutes and seconds; at most 366 days",
    ),
]


def _time_of_day(value: object) -> time:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or re.fullmatch(_HOUR_MINUTE, value, re.ASCII) is None:
        raise _refuse("time_of_day")
    return time.fromisoformat(value)


TimeOfDay = Annotated[
    time,
    BeforeValidator(_time_of_day),
    PlainSerializer(lambda value: f"{value:%H:%M}", return_type=str),
    _shown_as(
        type="string", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="a time of day in the account's time zone"
    ),
]


def _webhook_url(value: str) -> str:
    if len(value) > URL_LENGTH:
        raise _refuse("max_length", max_length=URL_LENGTH)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise _refuse("url") from None
    # urlsplit drops tabs and line breaks, and what other characters mean in it depends on who reads it.
    if port == 0 or not _URL.fullmatch(value):
        raise _refuse("url")
    if "@" in parts.netloc:
        raise _refuse("url_credentials")
    if "#" in value:
        raise _refuse("url_fragment")
    if re.fullmatch(_WEBHOOK_URL, value) is None:
        raise _refuse("url")
    return value


WebhookUrl = Annotated[
    str,
    AfterValidator(_webhook_url),
    _shown_as(
        type="string",
        maxLength=URL_LENGTH,
        pattern=rf"^{_WEBHOOK_URL}$",
        examples=["https://example.com/hooks/todo"],
        description="http:// or https://, to a public address; no user name or password in it, no fragment",
    ),
]


def omitted(**options: Any) -> Any:
    """The default of a field that may be left out and may not be null; the schema shows none."""
    return Field(default=None, json_schema_extra=_drop_default, **options)


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)
