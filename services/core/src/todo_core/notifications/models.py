"""How people want to be told, and what they were told in the app."""

from datetime import datetime, time
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import String
from sqlmodel import Field, SQLModel

from todo_core.database import Instant
from todo_core.ids import new_id

_TRUE = text("true")


class Preferences(SQLModel, table=True):
    """How an account wants to be reminded. An account without a row has the defaults."""

    __tablename__ = "preferences"
    __table_args__ = (
        CheckConstraint("(quiet_start IS NULL) = (quiet_end IS NULL)", name="quiet_hours_whole"),
        CheckConstraint("cardinality(default_reminders) <= 10", name="default_reminders_count"),
    )

    account_id: UUID = Field(primary_key=True, foreign_key="accounts.id", ondelete="CASCADE")
    default_reminders: list[str] = Field(
        default_factory=lambda: ["PT0S"],
        sa_type=ARRAY(String()),
        sa_column_kwargs={"server_default": text("'{PT0S}'")},
    )
    """ISO 8601 durations before the due time."""
    inbox: bool = Field(default=True, sa_column_kwargs={"server_default": _TRUE})
    email: bool = Field(default=True, sa_column_kwargs={"server_default": _TRUE})
    """Only once the account's address is verified, whatever this says."""
    webhook: bool = Field(default=True, sa_column_kwargs={"server_default": _TRUE})
    quiet_start: time | None = None
    quiet_end: time | None = None


class Inbox(SQLModel, table=True):
    """The counter of an account's notifications. Its row lock orders them as they commit, so that a reader who has
    seen number n can never find one below it later."""

    __tablename__ = "inboxes"

    account_id: UUID = Field(primary_key=True, foreign_key="accounts.id", ondelete="CASCADE")
    last_seq: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})


class Notification(SQLModel, table=True):
    """Something that an account was told in the app."""

    __tablename__ = "notifications"
    __table_args__ = (
        UniqueConstraint("account_id", "seq"),
        UniqueConstraint("delivery_id"),
        Index(None, "account_id", "seq", postgresql_where=text("read_at IS NULL")),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    seq: int = Field(sa_type=BigInteger)
    kind: str
    """`reminder`, or `webhook_disabled`."""
    delivery_id: UUID | None = None
    """The delivery that brought it: a repeat of that brings no second."""
    todo_id: UUID | None = None
    """What it is about. No foreign key: it outlives its todo."""
    title: str
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    read_at: datetime | None = Field(default=None, sa_type=Instant)


class Webhook(SQLModel, table=True):
    """An address of the account's own that reminders are posted to, as Standard Webhooks describes."""

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("char_length(url) <= 2000", name="url_length"),
        Index(None, "account_id"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    url: str
    secret: str
    """`whsec_…`, what requests are signed with. Not hashed, as it has to sign."""
    previous_secret: str | None = None
    """Signs beside the new one until `previous_secret_until`."""
    previous_secret_until: datetime | None = Field(default=None, sa_type=Instant)
    active: bool = Field(default=True, sa_column_kwargs={"server_default": _TRUE})
    failing_since: datetime | None = Field(default=None, sa_type=Instant)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)
    """When it was switched off for failing too long."""
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})


class EmailVerification(SQLModel, table=True):
    """One link to prove an address with, and the one mail that carries it."""

    __tablename__ = "email_verifications"
    __table_args__ = (
        Index(None, "account_id"),
        Index(None, "email_key", "created_at"),
        Index(None, "created_at", postgresql_where=text("sent_at IS NULL")),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    email: str
    email_key: str
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    sent_at: datetime | None = Field(default=None, sa_type=Instant)
    """Set before the mail goes out: to somebody who may never have asked, none is better than two."""
    used_at: datetime | None = Field(default=None, sa_type=Instant)


class MailedAddress(SQLModel, table=True):
    """An address that a link was asked for, by whichever account: somebody who never asked is not written to again and
    again, not even by accounts that are opened and deleted for it. So it outlives the account, and holds a digest."""

    __tablename__ = "mailed_addresses"

    digest: str = Field(primary_key=True)
    mailed_at: datetime = Field(sa_type=Instant)
