"""The headers of mails with any text of a user: read back by two mail parsers, and as bytes."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.generator import BytesGenerator
from email.header import decode_header, make_header
from email.message import EmailMessage
from functools import cache
from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import TEST_KEYS
from todo_core.accounts.links import Links
from todo_core.reminders.dispatch import Delivery
from todo_core.settings import TokenSettings
from todo_worker.mails import MailWriter

BCC = "=?utf-8?B?DQpCY2M6IG1hbGxvcnlAZXhhbXBsZS5jb20NCg==?="
END = "=?utf-8?Q?=0D=0A=0D=0AThe_body_of_somebody_else?="
OURS = {
    *("from", "to", "subject", "date", "message-id", "auto-submitted", "list-unsubscribe", "list-unsubscribe-post"),
    *("mime-version", "content-type", "content-language"),
}
WORDS = (
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            st.sampled_from(
                [BCC, END, "=?", "?=", "=?utf-8?q?a?=", "=?us-ascii?q?b?=", " ", "买牛奶", '"', "\\", ",", "<", ";"]
            ),
        ),
        min_size=1,
        max_size=12,
    )
    .map("".join)
    .filter(lambda title: shown(title) != "")
)


@cache
def writer(sender: str) -> MailWriter:
    """Make a writer of the worker's mails."""
    return MailWriter(Links(TokenSettings(keys=TEST_KEYS)), "https://todo.example.com", sender)


def wire(title: str, recipient: str = "lin@example.com", sender: str = "Todo <todo@example.com>") -> bytes:
    """A reminder as it goes to the mail server."""
    values: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__, "x")
    values |= {"title": title, "email": recipient, "locale": "en", "timezone": "UTC", "age": timedelta()}
    values |= {"todo_due_at": datetime(2026, 12, 1, tzinfo=UTC)}
    buffer = BytesIO()
    policy = email.policy.SMTP if recipient.isascii() else email.policy.SMTPUTF8
    BytesGenerator(buffer, policy=policy).flatten(writer(sender).reminder(Delivery(**values)))
    return buffer.getvalue()


def names(raw: bytes) -> list[str]:
    """The header lines' names, read without any library."""
    head = raw.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ")
    return [line.partition(b":")[0].decode().lower() for line in head.split(b"\r\n")]


def shown(title: str) -> str:
    """A title on one line."""
    return " ".join("".join(character if character.isprintable() else " " for character in title).split())


@given(WORDS)
@example(BCC)
@example(END)
@example(f"{BCC} {END}")
@example("=?utf-8?q?a?= =?utf-8?q?b?=")
@example("Buy milk, " * 15 + BCC)
def test_a_title_arrives_letter_by_letter_and_brings_no_header(title: str) -> None:
    raw = wire(title)
    assert sorted(names(raw)) == sorted(OURS)
    expected = f"Reminder: {shown(title)}"
    modern = email.message_from_bytes(raw, policy=email.policy.default)
    assert {name.lower() for name in modern.keys()} == OURS  # noqa: SIM118 - a message is no dict
    assert modern["Subject"] == expected
    classic = email.message_from_bytes(raw)
    assert str(make_header(decode_header(classic["Subject"]))) == expected
    assert max(map(len, raw.split(b"\r\n"))) < 998


@pytest.mark.parametrize("recipient", ["=?utf-8?B?DQpCY2M6IHg=?=@example.com", "=?utf-8?q?a?=@例子.中国"])
def test_an_address_that_looks_like_an_encoded_word_is_written_as_it_is(recipient: str) -> None:
    raw = wire("Buy milk", recipient)
    assert f"\r\nTo: {recipient}\r\n".encode() in raw
    assert sorted(names(raw)) == sorted(OURS)


@pytest.mark.parametrize("name", [BCC, "林的待办", "Lin, Wei & Co", 'The "Todo"', "Todo"])
def test_the_senders_name_arrives_letter_by_letter(name: str) -> None:
    quoted = name.replace('"', '\\"')
    raw = wire("Buy milk", sender=f'"{quoted}" <todo@example.com>')
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    (sender,) = message["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (name, "todo@example.com")
    assert sorted(names(raw)) == sorted(OURS)
