"""The kinds of values that requests carry: what each accepts, at its borders and beyond them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from todo_api.fields import Email, GivenPassword, Locale, Password, QueryTimestamp, TimeZone, Username
from todo_core.accounts.service import email_key, username_key
from todo_core.values import Description, Timestamp, Title, parse_timestamp


def read(kind: Any, value: object) -> Any:
    """The value as a request's model would hold it."""
    return TypeAdapter(kind).validate_python(value)


def rule_broken(kind: Any, value: object) -> str:
    """The name of the one rule that a value breaks; pydantic's own name where the rule is its own."""
    with pytest.raises(ValidationError) as refusal:
        read(kind, value)
    (error,) = refusal.value.errors()
    return error["type"]


# ---- timestamps

OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@st.composite
def rfc3339(draw: st.DrawFn) -> tuple[str, datetime]:
    """A string as RFC 3339 allows it, and the instant that it means, to the microsecond."""
    local = draw(st.datetimes(datetime(1900, 1, 2), datetime(9999, 12, 31)))  # noqa: DTZ001 - the offset is drawn next
    minutes = draw(OFFSETS)
    digits = draw(st.integers(0, 9))
    beyond = draw(st.text("0123456789", min_size=3, max_size=3))
    fraction = f"{local.microsecond:06}{beyond}"[:digits]
    local = local.replace(microsecond=int(f"{fraction:0<6}"[:6]))
    if minutes == 0 and draw(st.booleans()):
        offset = draw(st.sampled_from("Zz"))
    else:
        sign = "-" if minutes < 0 or (minutes == 0 and draw(st.booleans())) else "+"
        offset = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    text = (
        f"{local:%m-%dT%H:%M:%S}".replace("T", draw(st.sampled_from("Tt ")))
        + (f".{fraction}" if digits else "")
        + offset
    )
    return f"{local.year:04}-{text}", local.replace(tzinfo=timezone(timedelta(minutes=minutes)))


@given(rfc3339())
def test_every_rfc_3339_string_is_read_as_the_instant_that_it_means(example: tuple[str, datetime]) -> None:
    text, instant = example
    assert parse_timestamp(text) == instant
    assert parse_timestamp(text).utcoffset() == timedelta(0)


@given(rfc3339())
def test_in_a_query_the_plus_of_an_offset_may_have_become_a_space(example: tuple[str, datetime]) -> None:
    text, instant = example
    head, plus, offset = text.rpartition("+")
    assert read(QueryTimestamp, f"{head} {offset}" if plus else text) == instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("2016-12-31T23:59:60.999Z", "2017-01-01T00:00:00+00:00"),
        ("2017-01-01T07:59:60+08:00", "2017-01-01T00:00:00+00:00"),
        ("1990-12-31t15:59:60-08:00", "1991-01-01T00:00:00+00:00"),
    ],
)
def test_a_leap_second_is_the_next_minutes_first(text: str, instant: str) -> None:
    assert parse_timestamp(text) == datetime.fromisoformat(instant)


def test_an_unknown_local_offset_is_utc() -> None:
    assert parse_timestamp("2026-12-01T09:00:00-00:00") == datetime(2026, 12, 1, 9, tzinfo=UTC)


def test_digits_below_the_microsecond_are_cut_off_and_never_rounded_up() -> None:
    assert parse_timestamp("2026-12-31T23:59:59.999999999Z") == datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2026-12-01T09:00:00", "timestamp_offset"),
        ("2026-12-01t09:00:00.5", "timestamp_offset"),
        ("2026-12-01 09:00:00", "timestamp_offset"),
        ("2026-12-01", "timestamp"),
        ("09:00:00Z", "timestamp"),
        ("", "timestamp"),
        ("tomorrow", "timestamp"),
        ("1796000000", "timestamp"),
        ("2026-12-01T09:00Z", "timestamp"),
        ("2026-12-01T09Z", "timestamp"),
        ("20261201T090000Z", "timestamp"),
        ("2026-W49-2T09:00:00Z", "timestamp"),
        ("2026-335T09:00:00Z", "timestamp"),
        ("26-12-01T09:00:00Z", "timestamp"),
        ("+002026-12-01T09:00:00Z", "timestamp"),
        ("2026-13-01T09:00:00Z", "timestamp"),
        ("2026-02-29T09:00:00Z", "timestamp"),
        ("2026-12-01T24:00:00Z", "timestamp"),
        ("2026-12-01T09:60:00Z", "timestamp"),
        ("2026-12-01T09:00:61Z", "timestamp"),
        ("2026-12-01T09:00:00.Z", "timestamp"),
        ("2026-12-01T09:00:00,5Z", "timestamp"),
        ("2026-12-01T09:00:00+0800", "timestamp"),
        ("2026-12-01T09:00:00+08", "timestamp"),
        ("2026-12-01T09:00:00+8:00", "timestamp"),
        ("2026-12-01T09:00:00+24:00", "timestamp"),
        ("2026-12-01T09:00:00+08:60", "timestamp"),
        ("2026-12-01T09:00:00Z+08:00", "timestamp"),
        ("2026-12-01T09:00:00 Z", "timestamp"),
        ("2026-12-01T09:00:00+08:00[Asia/Shanghai]", "timestamp"),
        ("2026-12-01T09:00:00−08:00", "timestamp"),  # a minus sign, not the hyphen
        ("２０２６-12-01T09:00:00Z", "timestamp"),
        (" 2026-12-01T09:00:00Z", "timestamp"),
        ("2026-12-01T09:00:00Z\n", "timestamp"),
        ("0000-01-01T00:00:00Z", "timestamp"),
        ("0001-01-01T00:00:00+00:01", "timestamp_range"),
        ("1899-12-31T23:59:59.999999Z", "timestamp_range"),
        ("1900-01-01T00:00:00+00:01", "timestamp_range"),
        ("9999-12-31T23:59:59-00:01", "timestamp_range"),
        ("9999-12-31T23:59:60Z", "timestamp_range"),
    ],
)
def test_a_time_that_would_have_to_be_guessed_is_refused(text: str, rule: str) -> None:
    with pytest.raises(PydanticCustomError) as refusal:
        parse_timestamp(text)
    assert refusal.value.type == rule
    assert rule_broken(Timestamp, text) == rule
    assert rule_broken(QueryTimestamp, text) == rule


@pytest.mark.parametrize("value", [1_796_000_000, 1.5, True, ["2026-12-01T09:00:00Z"], {}])
def test_a_time_is_a_string(value: object) -> None:
    assert rule_broken(Timestamp, value) == "timestamp"


@pytest.mark.parametrize(
    "text", ["2026-12-01T09:00:00 8:00", "2026-12-01T09:00:00 -08:00", "2026-12-01 09:00", "2026-12-01T09:00:00  08:00"]
)
def test_in_a_query_no_other_space_is_taken_for_a_plus(text: str) -> None:
    assert rule_broken(QueryTimestamp, text) == "timestamp"


def test_in_a_body_no_space_is_taken_for_a_plus() -> None:
    assert rule_broken(Timestamp, "2026-12-01T09:00:00 08:00") == "timestamp"


# ---- titles and descriptions


@pytest.mark.parametrize(
    ("given_title", "kept"),
    [
        ("Buy milk", "Buy milk"),
        (" \t\r\n\u3000\u00a0买牛奶\u2003 ", "买牛奶"),
        ("two  spaces\nand lines", "two  spaces\nand lines"),
        ("x" * 200, "x" * 200),
        (" " * 500 + "🥛" * 200 + " " * 500, "🥛" * 200),
        ("0", "0"),
    ],
)
def test_a_title_is_trimmed_and_kept_inside(given_title: str, kept: str) -> None:
    assert read(Title, given_title) == kept


@pytest.mark.parametrize(
    ("title", "rule"),
    [
        ("", "blank"),
        (" \t\n\u3000", "blank"),
        ("x" * 201, "max_length"),
        ("🥛" * 201, "max_length"),
        ("\x00", "nul"),
        (" a\x00b", "nul"),
        ("\ud800", "unicode"),
        ("a\udfff", "unicode"),
    ],
)
def test_a_title_that_nobody_could_keep_is_refused(title: str, rule: str) -> None:
    assert rule_broken(Title, title) in {rule, f"string_{rule}"}


def test_a_description_is_kept_as_it_is_to_its_greatest_length() -> None:
    for text in ("", "  ", "\n字\n", "字" * 10_000):
        assert read(Description, text) == text
    assert rule_broken(Description, "字" * 10_001) == "string_too_long"
    assert rule_broken(Description, "a\x00") == "nul"


# ---- accounts


@pytest.mark.parametrize(
    "username",
    [
        "lin",
        "LIN",
        "x" * 50,
        "a_b-c.d",
        "007",
        "林小明",
        "さくら",
        "김철수",
        "Ωμέγα",
        "Дмитрий",
        "مرحبا",
        "नमन",
        "josé",
        "ｌｉｎ",
    ],
)
def test_usernames_of_every_script_are_kept_as_they_are(username: str) -> None:
    assert read(Username, username) == username


@pytest.mark.parametrize(
    "username",
    [
        "",
        "ab",
        "x" * 51,
        "a b",
        " lin",
        "lin ",
        "lin\n",
        "a@b",
        "lin/../wang",
        "<b>lin</b>",
        "a+b",
        "🥛🥛🥛",
        "a\u200db",
        "abc\x00",
        "a\u202ebc",
    ],
)
def test_usernames_with_anything_else_are_refused(username: str) -> None:
    assert rule_broken(Username, username) == "username"


def test_a_username_is_the_same_however_its_letters_are_composed() -> None:
    assert read(Username, "jose\u0301") == "jos\u00e9"
    assert read(Username, "e\u0301" * 50) == "\u00e9" * 50


@pytest.mark.parametrize(
    ("one", "other"), [("Lin", "lIN"), ("STRASSE", "straße"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("ｌｉｎ", "lin"), ("ﬁn", "FIN")]
)
def test_usernames_that_differ_by_case_or_width_alone_are_one(one: str, other: str) -> None:
    assert username_key(one) == username_key(other)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("lin@example.com", "lin@example.com"),
        ("Lin.Wang+todo@EXAMPLE.com", "Lin.Wang+todo@example.com"),
        ("林@例子.中国", "林@例子.中国"),
        (f"{'x' * 64}@example.com", f"{'x' * 64}@example.com"),
    ],
)
def test_an_address_is_kept_with_its_domain_in_one_spelling(address: str, kept: str) -> None:
    assert read(Email, address) == kept


def test_addresses_that_differ_by_case_alone_are_one() -> None:
    assert email_key(read(Email, "LIN@Example.COM")) == email_key(read(Email, "lin@example.com"))


@pytest.mark.parametrize(
    "address",
    [
        "", "lin", "@example.com", "lin@", "lin@example", "a b@example.com", "lin@@example.com", "lin@exa mple.com",
        "lin@example..com", ".lin@example.com", "lin@-example.com", "lin@[127.0.0.1]", "Lin <lin@example.com>",
        "lin@example.com\n", "lin\x00@example.com", f"{'x' * 243}@example.com", f"lin@{'x' * 250}.com",
        "lin@localhost", f"{'x' * 64}@{'.'.join(['y' * 63] * 3)}.com",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    assert rule_broken(Email, address) == "email"


@pytest.mark.parametrize(
    "password",
    [
        "k3J9dLq0Zx",
        ("correct horse battery " * 6)[:128],
        "🔑🥛🍞🧀🍎" * 2,
        ("🔑🥛🍞🧀🍎" * 26)[:128],
        "q t  a z m",
        "我家门前有两棵枣树。",
        "password8362947261984",
        "hunters in the snow",
    ],
)
def test_passwords_are_counted_in_characters_and_kept_as_they_are(password: str) -> None:
    assert read(Password, password) == password


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("", "string_too_short"),
        ("x" * 9, "string_too_short"),
        ("🔑" * 9, "string_too_short"),
        ("x" * 129, "string_too_long"),
        ("🔑" * 129, "string_too_long"),
        ("Password123", "common_password"),
        ("p@ssw0rd!!", "common_password"),
        ("PASSWORD-2026", "common_password"),
        ("monkeymonkey", "common_password"),
        ("hunter2hunter2", "common_password"),
        ("qwertyuiop", "common_password"),
        ("woaini1314", "common_password"),
        ("1234567890", "common_password"),
        ("zyxwvutsrq", "common_password"),
        (" " * 10, "common_password"),
        ("x" * 128, "common_password"),
        ("密码密码密码密码密码", "common_password"),
        ("x" * 10 + "\x00", "nul"),
        ("x" * 10 + "\ud83d", "string_unicode"),
    ],
)
def test_passwords_beyond_their_borders_are_refused(password: str, rule: str) -> None:
    assert rule_broken(Password, password) == rule


def test_a_password_that_is_only_compared_may_be_anything_of_bounded_length() -> None:
    assert read(GivenPassword, "") == ""
    assert read(GivenPassword, "x" * 128) == "x" * 128
    assert rule_broken(GivenPassword, "x" * 129) == "string_too_long"


@pytest.mark.parametrize("name", ["UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires", "Europe/Kyiv"])
def test_zones_are_those_of_the_zone_database(name: str) -> None:
    assert read(TimeZone, name) == name


@pytest.mark.parametrize(
    "name", ["", "Mars/Phobos", "asia/shanghai", "+08:00", "../etc/passwd", "Asia", "UTC\x00", " UTC"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    assert rule_broken(TimeZone, name) == "timezone"


@pytest.mark.parametrize("tag", ["en", "zh", "zh-CN", "zh-Hant-TW", "en-GB", "zh-Hans-CN-x1"])
def test_languages_are_tags_of_english_or_chinese(tag: str) -> None:
    assert read(Locale, tag) == tag


@pytest.mark.parametrize("tag", ["", "fr", "EN", "english", "zh_CN", "zh-", "zh-a", "en-x y", "en-123456789", "zh\n"])
def test_what_is_no_such_tag_is_refused(tag: str) -> None:
    assert rule_broken(Locale, tag) == "locale"


@pytest.mark.parametrize("kind", [Title, Description, Username, Email, Password, GivenPassword, TimeZone, Locale])
@pytest.mark.parametrize("value", [5, True, None, b"bytes", ["a"], {"a": 1}])
def test_text_is_a_string(kind: Any, value: object) -> None:
    assert rule_broken(Annotated[kind, Field(strict=True)], value) == "string_type"
