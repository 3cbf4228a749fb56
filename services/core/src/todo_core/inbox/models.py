"""The inbox: an account's notifications in the app, and the counter that numbers them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, UniqueConstraint, func, text
from sqlmodel import Field, SQLModel

from todo_core.database import Instant, readable
from todo_core.ids import new_id


class Inbox(SQLModel, table=True):
    """The counter of an account's notifications. Its row lock makes numbers ascend in the order of commits, so once a
    reader has seen number n, no lower number appears."""

    __tablename__ = "inboxes"

    account_id: UUID = Field(primary_key=True, foreign_key="accounts.id", ondelete="CASCADE")
    last_seq: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})


class Notification(SQLModel, table=True):
    """A notification of an account in the app."""

    __tablename__ = "notifications"
    __table_args__ = (
        UniqueConstraint("account_id", "seq"),
        UniqueConstraint("delivery_id"),
        readable("due_at"),
        Index(None, "account_id", "seq", postgresql_where=text("read_at IS NULL")),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    seq: int = Field(sa_type=BigInteger)
    kind: str
    """`reminder`, or `webhook_disabled`."""
    delivery_id: UUID | None = None
    """The delivery that created it: a repeat of the delivery creates no second one."""
    todo_id: UUID | None = None
    """The todo that it is about. No foreign key: it outlives its todo."""
    title: str
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    read_at: datetime | None = Field(default=None, sa_type=Instant)
