"""Computes the reminders of a todo after a change, from values alone: no statement, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from todo_core.errors import Fault, Invalid
from todo_core.ids import new_id
from todo_core.reminders import schedule
from todo_core.reminders.models import RemindedTodo, ReminderState
from todo_core.reminders.schedule import Offset, QuietHours

_WAITING = {ReminderState.SCHEDULED, ReminderState.CLAIMED}


@dataclass(frozen=True, slots=True)
class ReminderSpec:
    """A requested reminder: an offset before the due time, or an instant. Exactly one of the two."""

    before: Offset | None = None
    at: datetime | None = None


@dataclass(slots=True)
class PlannedReminder:
    """The columns of a reminder that decide when it goes out."""

    before_days: int | None = None
    before_seconds: int | None = None
    at: datetime | None = None
    remind_at: datetime | None = None
    state: str = ReminderState.CANCELLED
    occurrence: int = 1
    claimed_at: datetime | None = None
    id: UUID | str = field(default_factory=new_id)

    def is_as(self, spec: ReminderSpec) -> bool:
        """Whether it is what was asked for."""
        if spec.before is not None:
            return (self.before_days, self.before_seconds) == (spec.before.days, spec.before.seconds)
        return self.at == spec.at

    def follow(self, todo: RemindedTodo, plan: "Plan", now: datetime) -> bool:
        """Bring it into line with its todo. True if what was on its way for it no longer counts."""
        target = plan.target(self, todo.due_at)
        if todo.completed or target is None:
            waiting = self.state in _WAITING
            if waiting or (target is None and self.state == ReminderState.SKIPPED):
                self.state = ReminderState.CANCELLED
            self.remind_at = plan.due(target) if target is not None else None
            return waiting
        remind_at = plan.due(target)
        if remind_at == self.remind_at and self.state != ReminderState.CANCELLED:
            return False
        # One that was put off by quiet hours, cancelled and restored is still ahead, though its own time has gone.
        ahead = target > now or (remind_at == self.remind_at and remind_at > now)
        self.remind_at = remind_at
        if self.claimed_at is not None and ahead:
            # It went out, or might have: what comes now is another occurrence, with delivery ids of its own.
            self.occurrence += 1
            self.claimed_at = None
        elif self.claimed_at is not None:
            # Moved or reopened into the past after it went out: nothing more to say.
            was_claimed = self.state == ReminderState.CLAIMED
            self.state = ReminderState.SKIPPED
            return was_claimed
        moved = self.state in _WAITING
        self.state = ReminderState.SCHEDULED if ahead else ReminderState.SKIPPED
        return moved


@dataclass(frozen=True, slots=True)
class Plan:
    """Computes the instants of reminders from an account's settings."""

    zone: ZoneInfo
    quiet: QuietHours | None
    defaults: tuple[Offset, ...]

    def target(self, reminder: PlannedReminder, due_at: datetime | None) -> datetime | None:
        """The instant that was asked for; None while the todo has no due time."""
        if reminder.at is not None:
            return reminder.at
        if due_at is None or reminder.before_days is None or reminder.before_seconds is None:
            return None
        return schedule.before(due_at, Offset(reminder.before_days, reminder.before_seconds), self.zone)

    def due(self, target: datetime) -> datetime:
        """The instant at which it goes out: the one asked for, or the end of the quiet hours that it lies in."""
        return schedule.after_quiet_hours(target, self.quiet, self.zone)

    def specs(self, given: Sequence[ReminderSpec] | None) -> Sequence[ReminderSpec]:
        """Those given, or (None) the account's defaults."""
        return [ReminderSpec(before=offset) for offset in self.defaults] if given is None else given

    def build(self, todo: RemindedTodo, given: Sequence[ReminderSpec] | None, now: datetime) -> list[PlannedReminder]:
        """New reminders of a todo.

        Raises:
            Invalid: one is to be at an instant that has passed.
        """
        past = [index for index, spec in enumerate(given or ()) if spec.at is not None and spec.at <= now]
        if past:
            raise Invalid(*(Fault(f"reminders.{index}.at", "past") for index in past))
        reminders = [
            PlannedReminder(
                before_days=spec.before.days if spec.before else None,
                before_seconds=spec.before.seconds if spec.before else None,
                at=spec.at,
            )
            for spec in self.specs(given)
        ]
        for reminder in reminders:
            reminder.follow(todo, self, now)
        return reminders
