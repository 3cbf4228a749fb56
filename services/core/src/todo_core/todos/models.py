"""A todo, as stored."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, String, text
from sqlmodel import Field, SQLModel

from todo_core.database import Instant, readable
from todo_core.ids import new_id

TITLE_LENGTH = 200
DESCRIPTION_LENGTH = 10_000


class Bytewise(String):
    """Text that compares by its bytes, whatever the database's own collation."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(collation="C")


class Todo(SQLModel, table=True):
    """Something to do."""

    __tablename__ = "todos"
    __table_args__ = (
        CheckConstraint(f"char_length(title) BETWEEN 1 AND {TITLE_LENGTH}", name="title_length"),
        CheckConstraint(f"char_length(description) <= {DESCRIPTION_LENGTH}", name="description_length"),
        CheckConstraint("version >= 1", name="version_positive"),
        readable("due_at"),
        # One index a sort key. `completed` stands before the key, so each serves its sort filtered and, as the merge
        # of its two halves, unfiltered: see queries.py.
        Index(None, "owner_id", "completed", "created_at", "id"),
        Index(None, "owner_id", "completed", "due_at", "id"),
        Index(None, "owner_id", "completed", "updated_at", "id"),
        Index(None, "owner_id", "completed", "title_key", "id"),
    )
    # What PostgreSQL computes comes back with each INSERT and UPDATE, not with a SELECT after it.
    __mapper_args__: ClassVar[dict[str, object]] = {"eager_defaults": True}

    id: UUID = Field(default_factory=new_id, primary_key=True)
    owner_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    title: str
    title_key: str = Field(
        default=None,
        sa_type=Bytewise,
        sa_column_args=(Computed('lower(title COLLATE "C")', persisted=True),),
        nullable=False,
    )
    """What titles are sorted by: bytes, ASCII letters regardless of case. The same on every server and version."""
    description: str | None = None
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    completed: bool = Field(
        default=None, sa_column_args=(Computed("completed_at IS NOT NULL", persisted=True),), nullable=False
    )
    completed_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)
    own_reminders: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    """Whether its reminders were set for it alone; else it has its account's default ones."""
    version: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
