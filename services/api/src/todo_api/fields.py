"""The kinds of values that requests carry: their rules, and how OpenAPI shows them."""

import re
import unicodedata
from datetime import datetime, time
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from todo_core.accounts.password_policy import is_guessed_first
from todo_core.accounts.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH
from todo_core.reminders.schedule import Offset
from todo_core.values import HOUR_MINUTE, TIMESTAMP_SCHEMA, parse_timestamp, plain_text, refusal, shown_as
from todo_core.webhooks.service import URL_LENGTH

_USERNAME = re.compile(r"[\w.-]{3,50}")
_LONGEST_LOGIN = 254
"""An e-mail address's greatest length (RFC 5321). Longer text is not even looked at: bringing a megabyte of combining
marks to its normal form takes a minute."""
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_WEBHOOK_URL = (
    r"[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
    r"([/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?"
)
_LONGEST_TIMEZONE = 40
_LOCALE = re.compile(r"(en|zh)(-[A-Za-z0-9]{2,8}){0,3}")


def _timestamp_in_query(value: object) -> datetime:
    # An unescaped + of an offset arrives as a space.
    if isinstance(value, str):
        value = re.sub(r"(?<=[0-9]) (?=\d{2}:\d{2}$)", "+", value)
    return parse_timestamp(value)


def _username(value: str) -> str:
    value = unicodedata.normalize("NFC", value) if len(value) <= _LONGEST_LOGIN else ""
    if not _USERNAME.fullmatch(value):
        raise refusal("username")
    return value


def _password(value: str) -> str:
    if is_guessed_first(plain_text(value)):
        raise refusal("common_password")
    return value


def _email(value: str) -> str:
    if len(value) > _LONGEST_LOGIN:
        raise refusal("email")
    try:
        return validate_email(value, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        raise refusal("email") from None


@lru_cache(maxsize=1)
def timezone_names() -> tuple[str, ...]:
    """The names in the tzdata wheel: the same on every machine, whatever its own zone database holds."""
    return tuple(sorted(files("tzdata").joinpath("zones").read_text(encoding="ascii").split()))


def _timezone(value: str) -> str:
    names = timezone_names()
    if value not in names:
        raise refusal("timezone", nearest=", ".join(_nearest(value, names) or ["Asia/Shanghai"]))
    return value


def _nearest(value: str, names: tuple[str, ...]) -> list[str]:
    """The names whose place is most like that of a value that is none, whatever its case."""
    place = _place(value[:_LONGEST_TIMEZONE])
    # Comparing with all 598 took 12 ms of the event loop: only places with the same first letter are.
    by_place = {_place(name): name for name in names if _place(name)[:1] == place[:1]}
    return [by_place[match] for match in get_close_matches(place, by_place, n=3, cutoff=0.7)]


def _place(name: str) -> str:
    return name.lower().rpartition("/")[2]


def _locale(value: str) -> str:
    if not _LOCALE.fullmatch(value):
        raise refusal("locale")
    return value


QueryTimestamp = Annotated[datetime, BeforeValidator(_timestamp_in_query), TIMESTAMP_SCHEMA]
Username = Annotated[
    str,
    AfterValidator(_username),
    shown_as(
        type="string",
        pattern=r"^[\w.-]{3,50}$",
        examples=["lin"],
        description="3 to 50 letters of any script, digits, dots, hyphens or underscores; unique whatever its case",
    ),
]
Login = Annotated[
    str,
    Field(max_length=_LONGEST_LOGIN),
    AfterValidator(plain_text),
    shown_as(type="string", maxLength=_LONGEST_LOGIN, pattern=r"^[^\u0000]*$", examples=["lin"]),
]
"""A username or an e-mail address that is only looked up."""
Email = Annotated[
    str,
    AfterValidator(_email),
    shown_as(
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
    AfterValidator(_password),
    shown_as(
        type="string",
        format="password",
        minLength=MINIMUM_LENGTH,
        maxLength=MAXIMUM_LENGTH,
        pattern=r"^[^\u0000]*$",
        examples=["correct horse battery staple"],
        description=f"{MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters, all of which count; not one that is guessed"
        " first: a common word with or without digits, a repetition, a sequence, the username or the e-mail address",
    ),
]
GivenPassword = Annotated[
    str,
    Field(max_length=MAXIMUM_LENGTH),
    shown_as(type="string", format="password", maxLength=MAXIMUM_LENGTH, examples=["correct horse battery staple"]),
]
"""A password that is only compared: what could never be one is simply wrong."""
TimeZone = Annotated[
    str,
    AfterValidator(_timezone),
    # No enum of its 598 names: generated clients would have a type for each place that has one.
    shown_as(
        type="string",
        format="iana-time-zone",
        examples=["Asia/Shanghai"],
        description="the name of an IANA time zone: 422 lists those that are nearest to one that is not known",
    ),
]
Locale = Annotated[
    str,
    AfterValidator(_locale),
    shown_as(
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
        raise refusal("duration") from None


Duration = Annotated[
    Offset,
    BeforeValidator(_duration),
    PlainSerializer(str),
    shown_as(
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
    if not isinstance(value, str) or re.fullmatch(HOUR_MINUTE, value, re.ASCII) is None:
        raise refusal("time_of_day")
    return time.fromisoformat(value)


TimeOfDay = Annotated[
    time,
    BeforeValidator(_time_of_day),
    PlainSerializer(lambda value: f"{value:%H:%M}", return_type=str),
    shown_as(
        type="string", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="a time of day in the account's time zone"
    ),
]


def _webhook_url(value: str) -> str:
    if len(value) > URL_LENGTH:
        raise refusal("max_length", max_length=URL_LENGTH)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise refusal("url") from None
    # urlsplit drops tabs and line breaks, and what other characters mean in it depends on who reads it.
    if port == 0 or not _URL.fullmatch(value):
        raise refusal("url")
    if "@" in parts.netloc:
        raise refusal("url_credentials")
    if "#" in value:
        raise refusal("url_fragment")
    if re.fullmatch(_WEBHOOK_URL, value) is None:
        raise refusal("url")
    return value


WebhookUrl = Annotated[
    str,
    AfterValidator(_webhook_url),
    shown_as(
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
