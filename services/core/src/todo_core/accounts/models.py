"""Accounts, the refresh tokens that keep them signed in, and the proofs of their e-mail addresses."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from todo_core.database import Instant
from todo_core.ids import new_id


class Account(SQLModel, table=True):
    """A person's account."""

    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("username_key"),
        UniqueConstraint("email_key"),
        CheckConstraint("char_length(username) BETWEEN 3 AND 50", name="username_length"),
        CheckConstraint("char_length(email) BETWEEN 3 AND 254", name="email_length"),
        # Every change of a todo writes its account's row, in place as long as the page has room (a HOT update).
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    username: str
    username_key: str
    """The username as compared: NFKC, case folded. PostgreSQL's own lower() depends on its version and locale."""
    email: str
    email_key: str
    email_verified_at: datetime | None = Field(default=None, sa_type=Instant)
    """The time at which its owner verified this address. Null again once the address changes."""
    proof_mails_at: list[datetime] | None = Field(default=None, sa_type=ARRAY(Instant))
    """When it asked for links to prove an address with, in the last day: so few may be, whichever address it had."""
    password_hash: str
    timezone: str = Field(sa_column_kwargs={"server_default": text("'UTC'")})
    locale: str = Field(sa_column_kwargs={"server_default": text("'en'")})
    auth_version: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    """Access tokens carry it; raising it ends them all."""
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)
    """The time from which it cannot sign in, and its reminders are not sent: an operator disabled it."""
    change_seq: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    """Raised under the row's lock by every change of the account's todos: orders changes, and versions cached lists."""
    changed_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    """The time at which change_seq was last raised. Strictly increasing within the account."""
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})

    @property
    def email_verified(self) -> bool:
        """Tell whether its owner has verified its address."""
        return self.email_verified_at is not None


class RefreshToken(SQLModel, table=True):
    """A refresh token, used once. The tokens of one sign-in are a family."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        Index(None, "account_id"),
        Index(None, "family_id"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    family_id: UUID
    token_hash: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    expires_at: datetime = Field(sa_type=Instant)
    used_at: datetime | None = Field(default=None, sa_type=Instant)


class EmailVerification(SQLModel, table=True):
    """A link that verifies an address, and the one mail that carries it."""

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
