"""The schemas of the notifications' routes match the accepted input: no more, and no less."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from todo_api.fields import WebhookUrl
from todo_api.notifications import MarkRead

URL = TypeAdapter[str](WebhookUrl)
PATTERN = str(URL.json_schema()["pattern"])


def leads_somewhere(url: str) -> bool:
    """Tell whether a URL's port, and its address in brackets, are valid."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


@given(st.from_regex(PATTERN, fullmatch=True))
def test_every_url_that_the_schema_allows_is_read_as_it_is_if_it_leads_somewhere(url: str) -> None:
    if leads_somewhere(url):
        assert URL.validate_python(url) == url
    else:
        with pytest.raises(ValidationError, match="type=url,"):
            URL.validate_python(url)


@given(
    st.sampled_from(["https://example.com/a?b", "http://[::1]:80", "https://a_b.example.com."]),
    st.integers(0, 30),
    st.sampled_from(list('\t\n\r \\"<>^`{|}#é例\x00\x7f')),
)
def test_a_character_that_means_something_else_to_somebody_is_refused_wherever_it_stands(
    url: str, at: int, character: str
) -> None:
    with pytest.raises(ValidationError):
        URL.validate_python(url[:at] + character + url[at:])


@pytest.mark.parametrize("up_to", [42, 42.0, 0, 0.0, 2**53 - 1])
def test_a_whole_number_is_one_however_json_writes_it(up_to: float) -> None:
    assert MarkRead.model_validate({"up_to": up_to}).up_to == up_to


@pytest.mark.parametrize("up_to", [42.5, "42", True, -1, -1.0, 2.0**53, 1e300, float("inf"), float("nan"), None, [1]])
def test_whatever_else_is_no_whole_number_of_an_inbox(up_to: Any) -> None:
    with pytest.raises(ValidationError):
        MarkRead.model_validate({"up_to": up_to})


def test_the_schema_of_that_number_says_its_bounds() -> None:
    assert MarkRead.model_json_schema()["properties"]["up_to"].items() >= {
        ("type", "integer"),
        ("minimum", 0),
        ("maximum", 2**53 - 1),
    }
