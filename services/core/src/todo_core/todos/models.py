"""A todo: what a person writes of it, what people see of it, and as it is stored.

A field that people write is declared once, in `TodoFields`. The table, the columns of every statement, the rules, the
bodies of requests and the answers follow from it.
"""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, String, text
from sqlmodel import Field, SQLModel

from todo_core.database import Instant, readable
from todo_core.ids import new_id
from todo_core.values import DESCRIPTION_LENGTH, TITLE_LENGTH, Description, Timestamp, Title


class Bytewise(String):
    """Text that compares by its bytes, whatever the database's own collation."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(collation="C")


class TodoFields(SQLModel):
    """What a person writes of a todo. A field without a default is required; None as one means that null clears it."""

    title: Title = Field(sa_type=String)
    description: Description | None = Field(default=None, sa_type=String)
    due_at: Timestamp | None = Field(default=None, sa_type=Instant)


class _Key(SQLModel):
    id: UUID = Field(default_factory=new_id, primary_key=True)


class TodoShown(TodoFields, _Key):
    """A todo as people see it, in this order."""

    completed: bool = Field(
        default=None, sa_column_args=(Computed("completed_at IS NOT NULL", persisted=True),), nullable=False
    )
    completed_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)
    version: int = Field(
        default=1,
        sa_column_kwargs={"server_default": text("1")},
        description="goes up with every change; the ETag holds it",
    )


class Todo(TodoShown, table=True):
    """Something to do."""

    __tablename__ = "todos"
    __table_args__ = (
        CheckConstraint(f"char_length(title) BETWEEN 1 AND {TITLE_LENGTH}", name="title_length"),
        CheckConstraint(f"char_length(description) <= {DESCRIPTION_LENGTH}", name="description_length"),
        CheckConstraint("version >= 1", name="version_positive"),
        readable("due_at"),
        # One index a sort key. `completed` stands before the key, so each serves its sort filtered and, as the merge
        # of its two halves, unfiltered: see the statements in queries.py.
        Index(None, "owner_id", "completed", "created_at", "id"),
        Index(None, "owner_id", "completed", "due_at", "id"),
        Index(None, "owner_id", "completed", "updated_at", "id"),
        Index(None, "owner_id", "completed", "title_key", "id"),
    )
    # What PostgreSQL computes comes back with each INSERT and UPDATE, not with a SELECT after it.
    __mapper_args__: ClassVar[dict[str, object]] = {"eager_defaults": True}

    owner_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    title_key: str = Field(
        default=None,
        sa_type=Bytewise,
        sa_column_args=(Computed('lower(title COLLATE "C")', persisted=True),),
        nullable=False,
    )
    """What titles are sorted by: bytes, ASCII letters regardless of case. The same on every server and version."""
    own_reminders: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    """Whether its reminders were set for it alone; else it has its account's default ones."""


WRITTEN = tuple(TodoFields.model_fields)
COLUMNS = tuple(TodoShown.model_fields)
DEFAULTS = {name: field.get_default() for name, field in TodoFields.model_fields.items() if not field.is_required()}
