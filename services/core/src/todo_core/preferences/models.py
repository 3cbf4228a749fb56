"""The table of preferences."""

from datetime import time
from uuid import UUID

from sqlalchemy import CheckConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import String
from sqlmodel import Field, SQLModel

_TRUE = text("true")


class Preferences(SQLModel, table=True):
    """An account's preferences for reminders. An account without a row has the defaults."""

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
    """Takes effect only once the account's address is verified."""
    webhook: bool = Field(default=True, sa_column_kwargs={"server_default": _TRUE})
    quiet_start: time | None = None
    quiet_end: time | None = None
