"""The tables of reminders and of their deliveries by channel, with their states."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, func, text
from sqlmodel import Field, SQLModel

from todo_core.database import Instant, readable
from todo_core.ids import new_id


@dataclass(frozen=True, slots=True)
class RemindedTodo:
    """The values of a todo that the rules of reminders use, after the change that they follow."""

    id: UUID | str
    owner_id: UUID
    due_at: datetime | None
    completed: bool
    own_reminders: bool
    """True if the todo has reminders of its own; otherwise it has its account's default ones."""


class ReminderState(StrEnum):
    """How far a reminder is."""

    SCHEDULED = "scheduled"
    SKIPPED = "skipped"
    CLAIMED = "claimed"
    SENT = "sent"
    CANCELLED = "cancelled"
    FAILED = "failed"


class DeliveryState(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"
    SENT = "sent"
    CANCELLED = "cancelled"
    DEAD = "dead"


def _one_of(column: str, states: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(state)) for state in states)})"


class Reminder(SQLModel, table=True):
    """A moment at which the owner of a todo is reminded of it."""

    __tablename__ = "reminders"
    __table_args__ = (
        CheckConstraint(_one_of("state", ReminderState), name="state"),
        CheckConstraint("(before_days IS NULL) = (before_seconds IS NULL)", name="before_whole"),
        CheckConstraint("before_days >= 0 AND before_seconds >= 0", name="before_positive"),
        CheckConstraint("state <> 'scheduled' OR remind_at IS NOT NULL", name="scheduled_has_time"),
        readable("at"),
        readable("remind_at"),
        Index(None, "todo_id"),
        # Of every state: without it, deleting an account would read all reminders of all accounts.
        Index(None, "account_id", "state"),
        # The due reminders: the claim reads the index from both ends.
        Index(None, "remind_at", postgresql_where=text("state = 'scheduled'")),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    account_id: UUID = Field(foreign_key="accounts.id", ondelete="CASCADE")
    todo_id: UUID = Field(foreign_key="todos.id", ondelete="CASCADE")
    before_days: int | None = None
    before_seconds: int | None = None
    """Before the due time: both, or neither for a reminder at an instant of its own."""
    at: datetime | None = Field(default=None, sa_type=Instant)
    """An instant of its own. With neither, the reminder is at none (its todo has no due time)."""
    remind_at: datetime | None = Field(default=None, sa_type=Instant)
    """The instant at which it is due, after quiet hours; null while its todo has no due time."""
    state: str
    occurrence: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    """Goes up when a reminder that has gone out, or might have, is due anew."""
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    claimed_at: datetime | None = Field(default=None, sa_type=Instant)


class Delivery(SQLModel, table=True):
    """The delivery of one occurrence of a reminder to one endpoint. Receivers recognise a repeat by its id."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint(_one_of("state", DeliveryState), name="state"),
        UniqueConstraint("reminder_id", "occurrence", "channel", "endpoint_id"),
        # The deliveries to be sent: the lease reads the index from both ends.
        Index(None, "next_attempt_at", postgresql_where=text("state = 'pending'")),
        Index(None, "settled_at", postgresql_where=text("state = 'dead'")),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    reminder_id: UUID = Field(foreign_key="reminders.id", ondelete="CASCADE")
    occurrence: int
    channel: str
    endpoint_id: UUID
    """A webhook's id; for the inbox and e-mail, which an account has one of, the account's."""
    due_at: datetime = Field(sa_type=Instant)
    """The time at which it was due: lateness is counted from here."""
    state: str = Field(default=DeliveryState.PENDING, sa_column_kwargs={"server_default": text("'pending'")})
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    next_attempt_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    lease_until: datetime | None = Field(default=None, sa_type=Instant)
    fence: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    """Goes up with every lease. Only the holder of the last one may settle."""
    last_error: str | None = None
    webhook_title: str | None = None
    webhook_due_at: datetime | None = Field(default=None, sa_type=Instant)
    """What a webhook's body says of its todo, from the first attempt until it has arrived: every attempt says the same,
    whatever becomes of the todo."""
    created_at: datetime = Field(default=None, sa_type=Instant, sa_column_kwargs={"server_default": func.now()})
    settled_at: datetime | None = Field(default=None, sa_type=Instant)
