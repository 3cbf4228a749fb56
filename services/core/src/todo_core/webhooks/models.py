"""The table of webhooks."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, func, text
from sqlmodel import Field, SQLModel

from todo_core.database import Instant
from todo_core.ids import new_id


class Webhook(SQLModel, table=True):
    """A URL of the account that reminders are posted to, after Standard Webhooks."""

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("char_length(url) <= 2000", name="url_length"),
        Index(None, "account_id"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    url: str
    secret: str
    """The signing key of requests, `whsec_…`. Not hashed, as signing needs it."""
    previous_secret: str | None = None
    """Signs beside the new one until `previous_secret_until`."""
    previous_secret_until: datetime | None = Field(default=None, sa_type=Instant)
    active: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    failing_since: datetime | None = Field(default=None, sa_type=Instant)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)
    """The time at which it was switched off for failing too long."""
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
