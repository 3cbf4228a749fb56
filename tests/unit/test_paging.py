"""Cursors: what one carries comes back, and nothing else is taken for one."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from todo_core import paging
from todo_core.errors import Fault, Invalid
from todo_core.paging import Place, decode_cursor, encode_cursor
from todo_core.todos.queries import SORT_NAMES, ListQuery

QUERY = ListQuery().canonical
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
INSTANTS = st.datetimes(timezones=st.just(UTC))
PLACE = Place(datetime(2026, 12, 1, 1, 2, 3, 456_789, tzinfo=UTC), UUID("01a20ba9-23fa-77fc-bef6-8ab8f42077d6"))


def refusal_of(cursor: str, *, query: str = QUERY, key_is_instant: bool = True) -> tuple[Fault, ...]:
    """Return the faults with which a cursor is refused."""
    with pytest.raises(Invalid) as refusal:
        decode_cursor(query, cursor, key_is_instant=key_is_instant)
    return refusal.value.faults


def forged(body: bytes, query: str = QUERY) -> str:
    """A cursor with the digest that belongs to it: made by someone who has read the code."""
    return base64.urlsafe_b64encode(paging._digest(query, body) + body).rstrip(b"=").decode("ascii")


@given(query=TEXTS, key=st.none() | INSTANTS, row_id=st.uuids())
def test_a_place_in_time_comes_back_to_the_microsecond(query: str, key: datetime | None, row_id: UUID) -> None:
    cursor = encode_cursor(query, Place(key, row_id))
    assert decode_cursor(query, cursor, key_is_instant=True) == Place(key, row_id)


@given(query=TEXTS, key=st.none() | TEXTS, row_id=st.uuids())
def test_a_place_among_titles_comes_back_to_the_letter(query: str, key: str | None, row_id: UUID) -> None:
    cursor = encode_cursor(query, Place(key, row_id))
    assert decode_cursor(query, cursor, key_is_instant=False) == Place(key, row_id)


@given(key=st.none() | INSTANTS | TEXTS, row_id=st.uuids())
def test_a_cursor_needs_no_escaping_in_a_url(key: str | datetime | None, row_id: UUID) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", encode_cursor(QUERY, Place(key, row_id)))


def test_an_instant_of_any_offset_is_carried_as_the_instant_that_it_is() -> None:
    there = datetime(2026, 12, 1, 9, tzinfo=timezone(timedelta(hours=8)))
    cursor = encode_cursor(QUERY, Place(there, PLACE.id))
    assert decode_cursor(QUERY, cursor, key_is_instant=True) == Place(datetime(2026, 12, 1, 1, tzinfo=UTC), PLACE.id)


QUERIES = [
    *(ListQuery(sort=name) for name in SORT_NAMES),
    ListQuery(completed=True),
    ListQuery(completed=False),
    ListQuery(due_before=datetime(2026, 1, 1, tzinfo=UTC)),
    ListQuery(due_after=datetime(2026, 1, 1, tzinfo=UTC)),
    ListQuery(due_before=datetime(2026, 1, 2, tzinfo=UTC)),
    ListQuery(due_after=datetime(2026, 1, 1, tzinfo=UTC), due_before=datetime(2026, 1, 2, tzinfo=UTC)),
]


@pytest.mark.parametrize("made_under", QUERIES, ids=lambda query: query.canonical)
def test_a_cursor_is_refused_under_every_other_sort_or_filter(made_under: ListQuery) -> None:
    cursor = encode_cursor(made_under.canonical, PLACE)
    for asked in QUERIES:
        if asked == made_under:
            assert decode_cursor(asked.canonical, cursor, key_is_instant=True) == PLACE
        else:
            assert refusal_of(cursor, query=asked.canonical) == (Fault("cursor", "cursor"),)


def test_a_cursor_goes_on_under_another_limit() -> None:
    cursor = encode_cursor(ListQuery(limit=5).canonical, PLACE)
    assert decode_cursor(ListQuery(limit=50).canonical, cursor, key_is_instant=True) == PLACE


@given(one=TEXTS, other=TEXTS, row_id=st.uuids())
def test_queries_however_alike_do_not_share_cursors(one: str, other: str, row_id: UUID) -> None:
    assume(one != other)
    refusal_of(encode_cursor(one, Place(None, row_id)), query=other)


@given(
    position=st.integers(0), letter=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
)
def test_a_cursor_with_one_letter_changed_is_refused(position: int, letter: str) -> None:
    cursor = encode_cursor(QUERY, PLACE)
    position %= len(cursor)
    tampered = cursor[:position] + letter + cursor[position + 1 :]
    # The last letter of base64 has bits that mean nothing: then it is the same cursor.
    assume(base64.urlsafe_b64decode(tampered + "==") != base64.urlsafe_b64decode(cursor + "=="))
    assert refusal_of(tampered) == (Fault("cursor", "cursor"),)


@given(end=st.integers(0, 200))
def test_a_cursor_cut_short_or_prolonged_is_refused(end: int) -> None:
    cursor = encode_cursor(QUERY, PLACE)
    refusal_of(cursor[:end] if end < len(cursor) else cursor + "A" * (end + 1 - len(cursor)))


@pytest.mark.parametrize("noise", [" ", "\n", "!", "=", "."])
def test_a_cursor_with_something_between_is_refused(noise: str) -> None:
    cursor = encode_cursor(QUERY, PLACE)
    refusal_of(cursor[:8] + noise + cursor[8:])


@given(cursor=st.text(), key_is_instant=st.booleans())
def test_garbage_is_refused(cursor: str, key_is_instant: bool) -> None:
    assert refusal_of(cursor, key_is_instant=key_is_instant) == (Fault("cursor", "cursor"),)


@pytest.mark.parametrize(
    "cursor", ["", "=", "====", "A", "null", "游标", "é", "\x00", "\ud800", "W10", "A" * 100_000, " "]
)
def test_well_known_garbage_is_refused(cursor: str) -> None:
    assert refusal_of(cursor) == (Fault("cursor", "cursor"),)


@given(body=st.binary(), key_is_instant=st.booleans())
def test_bytes_with_a_digest_that_fits_are_refused_unless_they_are_a_place(body: bytes, key_is_instant: bool) -> None:
    refusal_of(forged(body), key_is_instant=key_is_instant)


ID = str(PLACE.id)


@pytest.mark.parametrize("key_is_instant", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        None, 5, "ab", [], [None], [None, ID, 1], [None, None], [None, 5], [None, "x"], [None, [ID]], [5, ID],
        [True, ID], [["a"], ID], [{"a": 1}, ID], {"a": 1, "b": 2}, ["a\x00", ID],
    ],
)  # fmt: skip
def test_a_forged_cursor_never_reaches_the_database(content: object, key_is_instant: bool) -> None:
    assert refusal_of(forged(orjson.dumps(content)), key_is_instant=key_is_instant) == (Fault("cursor", "cursor"),)


@pytest.mark.parametrize(
    "key", ["tomorrow", "", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]
)
def test_a_forged_time_that_is_none_is_refused(key: str) -> None:
    assert refusal_of(forged(orjson.dumps([key, ID]))) == (Fault("cursor", "cursor"),)


def test_a_deeply_nested_cursor_is_refused() -> None:
    refusal_of(forged(b"[" * 100_000))
