"""Writes mails: text and HTML, in the reader's language and time zone."""

from email.charset import Charset
from email.header import Header
from email.headerregistry import BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy
from email.utils import format_datetime, formataddr, parseaddr
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from todo_core import clock
from todo_core.accounts.links import Links
from todo_core.accounts.verification_mails import VerificationMail
from todo_core.reminders.dispatch import Delivery
from todo_worker.mail_texts import Texts, texts_for, written


class _LiteralHeader(UnstructuredHeader, BaseHeader):
    """A header that goes out as it is, on one line.

    Python's own classes read encoded words (`=?utf-8?…?=`) in what they are given, and before 3.11.10 and 3.12.5 a
    line break in one became a header of its own (CVE-2024-6923). So no value goes through them: the text of these
    headers is never parsed.
    """

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """Keep the text, and look for nothing in it."""
        kwds["parse_tree"] = None
        kwds["decoded"] = value

    def fold(self, *, policy: Policy) -> str:
        """The line."""
        return f"{self.name}: {self}{policy.linesep}"


class _TextHeader(_LiteralHeader):
    """A header of plain text, which arrives letter by letter whatever it looks like."""

    def fold(self, *, policy: Policy) -> str:
        """The lines: as they are, or encoded as a whole, so that a reader decodes them once and finds the text."""
        return f"{self.name}: {_encoded(self, self.name).encode(linesep=policy.linesep)}{policy.linesep}"


def _encoded(text: str, name: str) -> Header:
    """The text as RFC 2047 writes it: unchanged where nothing in it can be taken for an encoded word."""
    return Header(str(text), "us-ascii" if text.isascii() and "=?" not in text else "utf-8", header_name=name)


def _mailbox(name: str, address: str) -> str:
    """`Name <address>`; a name that could be taken for something else is encoded."""
    if name.isascii() and "=?" not in name:
        return formataddr((name, address))
    return f"{Charset('utf-8').header_encode(name)} <{address}>"


_headers = HeaderRegistry()
_headers.map_to_type("subject", _TextHeader)
for _name in ("from", "to", "list-unsubscribe"):
    _headers.map_to_type(_name, _LiteralHeader)
_SMTP, _SMTPUTF8 = SMTP.clone(header_factory=_headers), SMTPUTF8.clone(header_factory=_headers)


class MailWriter:
    """Writes mails. It sends none."""

    def __init__(self, links: Links, public_url: str, sender: str) -> None:
        name, self._address = parseaddr(sender)
        self._sender = _mailbox(name, self._address)
        self._links = links
        self._public_url = public_url
        self._templates = Environment(
            loader=PackageLoader("todo_worker"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def reminder(self, delivery: Delivery) -> EmailMessage:
        """A todo is due, or will be."""
        texts = texts_for(delivery.locale)
        title = _one_line(delivery.title)
        unsubscribe = self._public_url + self._links.unsubscribe(delivery.account_id, delivery.email)
        message = self._message(
            delivery.id,
            delivery.email,
            texts.reminder_subject.format(title=title),
            texts,
            heading=title,
            lines=[texts.greeting.format(name=delivery.username), *self._due(delivery, texts)],
            link=None,
            reason=texts.reminder_reason,
            unsubscribe=unsubscribe,
        )
        # RFC 8058: one click in the mail program ends them, with no page and no sign-in between.
        message["List-Unsubscribe"] = f"<{unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        return message

    def verification(self, mail: VerificationMail) -> EmailMessage:
        """A link to prove an address with."""
        texts = texts_for(mail.locale)
        return self._message(
            mail.id,
            mail.email,
            texts.verify_subject,
            texts,
            heading=texts.verify_subject,
            # Nothing that the account wrote: it is read by whoever has the address.
            lines=[texts.verify_greeting, texts.verify_request],
            link=(texts.verify_button, self._public_url + self._links.verify_email(mail.id)),
            reason=texts.verify_reason,
            unsubscribe=None,
        )

    def _due(self, delivery: Delivery, texts: Texts) -> list[str]:
        if delivery.todo_due_at is None:
            return [texts.reminder_without_due]
        return [texts.reminder_due.format(when=written(delivery.todo_due_at, ZoneInfo(delivery.timezone), texts))]

    def _message(self, key: str, recipient: str, subject: str, texts: Texts, **values: Any) -> EmailMessage:
        message = EmailMessage(policy=_SMTP if recipient.isascii() else _SMTPUTF8)
        message["From"] = self._sender
        message["To"] = recipient
        message["Subject"] = subject
        message["Date"] = format_datetime(clock.now())
        # The same for every attempt: a mail program that gets it twice shows it once.
        message["Message-ID"] = f"<{key}@{self._address.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers
        values |= {"texts": texts}
        message.set_content(self._templates.get_template("mail.txt").render(values))
        message.add_alternative(self._templates.get_template("mail.html").render(values), subtype="html")
        message["Content-Language"] = texts.language
        return message


def _one_line(text: str) -> str:
    """Without line breaks and control characters, which a header must not have."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
