"""The rules of reminders: which a todo has, when each is due, and what a change does to those that exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from todo_core.errors import Fault, Invalid
from todo_core.preferences.repository import PreferencesRepository
from todo_core.reminders import schedule
from todo_core.reminders.models import Delivery, DeliveryState, RemindedTodo, Reminder, ReminderState
from todo_core.reminders.repository import ReminderRepository
from todo_core.reminders.schedule import Offset, QuietHours

MOST_REMINDERS = 10
_WAITING = {ReminderState.SCHEDULED, ReminderState.CLAIMED}


@dataclass(frozen=True, slots=True)
class ReminderSpec:
    """What a person asks for: so long before the due time, or an instant. Exactly one of the two."""

    before: Offset | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account's settings make of its reminders."""

    zone: ZoneInfo
    quiet: QuietHours | None
    defaults: tuple[Offset, ...]

    def target(self, reminder: Reminder, due_at: datetime | None) -> datetime | None:
        """The instant that was asked for; None while the todo has no due time."""
        if reminder.at is not None:
            return reminder.at
        if due_at is None or reminder.before_days is None or reminder.before_seconds is None:
            return None
        return schedule.before(due_at, Offset(reminder.before_days, reminder.before_seconds), self.zone)

    def due(self, target: datetime) -> datetime:
        """The instant at which it goes out: the one asked for, or the end of the quiet hours that it lies in."""
        return schedule.after_quiet_hours(target, self.quiet, self.zone)


def shown_state(reminder: Reminder, deliveries: Sequence[Delivery]) -> ReminderState:
    """A reminder's state as people see it: `sent` once any channel has delivered, `failed` once all have given up.

    It is worked out rather than stored, so that settling a delivery writes one row.
    """
    current = [delivery for delivery in deliveries if delivery.occurrence == reminder.occurrence]
    if reminder.claimed_at is not None and any(delivery.state == DeliveryState.SENT for delivery in current):
        return ReminderState.SENT
    if (
        reminder.state == ReminderState.CLAIMED
        and current
        and all(delivery.state == DeliveryState.DEAD for delivery in current)
    ):
        return ReminderState.FAILED
    return ReminderState(reminder.state)


class ReminderService:
    """Called by the rules of todos and of preferences, in their transactions, under the account's lock.

    `now` is always the instant of that change, by the database's clock.
    """

    def __init__(self, reminders: ReminderRepository, preferences: PreferencesRepository) -> None:
        self._reminders = reminders
        self._preferences = preferences

    async def plan_new(self, todo: RemindedTodo, specs: Sequence[ReminderSpec] | None, now: datetime) -> None:
        """Give a new todo its reminders: those asked for, or (None) the account's defaults.

        Raises:
            Invalid: one is to be at an instant that has passed.
        """
        plan = await self._plan(todo.owner_id)
        reminders = self._build(todo, specs, plan, now)
        if reminders:
            await self._reminders.add(reminders)

    async def replace(self, todo: RemindedTodo, specs: Sequence[ReminderSpec] | None, now: datetime) -> None:
        """Give a todo other reminders; None: the account's defaults again.

        Those that are as asked for stay as they are, so that none goes out twice.

        Raises:
            Invalid: a new one is to be at an instant that has passed.
        """
        plan = await self._plan(todo.owner_id)
        existing = await self._reminders.lock_of_todo(todo.owner_id, todo.id)
        kept: list[Reminder] = []
        missing: list[ReminderSpec] = []
        for spec in self._specs(specs, plan):
            same = next((r for r in existing if r not in kept and _is(r, spec)), None)
            if same is None:
                missing.append(spec)
            else:
                kept.append(same)
        gone = [reminder.id for reminder in existing if reminder not in kept]
        if gone:
            await self._reminders.delete(todo.owner_id, gone)
        added = self._build(todo, missing, plan, now)
        if added:
            await self._reminders.add(added)
        await self._apply(todo, kept, plan, now)

    async def follow(self, todo: RemindedTodo, now: datetime) -> None:
        """Move, cancel or restore a todo's reminders after its due time or its completion changed.

        One that was made before there were reminders, or by a release that knew of none, gets the account's defaults.
        """
        plan = await self._plan(todo.owner_id)
        reminders = await self._reminders.lock_of_todo(todo.owner_id, todo.id)
        if not todo.own_reminders and all(reminder.before_days is None for reminder in reminders):
            added = self._build(todo, None, plan, now)
            if added:
                await self._reminders.add(added)
        await self._apply(todo, reminders, plan, now)

    async def snooze(self, todo: RemindedTodo, until: datetime, now: datetime) -> Reminder:
        """Remind once more, at an instant.

        Raises:
            Invalid: it has passed, the todo is done, or it has its fill of reminders that are still to come.
        """
        if todo.completed:
            raise Invalid(Fault("completed", "snooze_done"))
        existing = await self._reminders.lock_of_todo(todo.owner_id, todo.id)
        if sum(reminder.state == ReminderState.SCHEDULED for reminder in existing) >= 2 * MOST_REMINDERS:
            raise Invalid(Fault("until", "too_many_reminders", {"most": 2 * MOST_REMINDERS}))
        if until <= now:
            raise Invalid(Fault("until", "past"))
        plan = await self._plan(todo.owner_id)
        reminder = Reminder(
            account_id=todo.owner_id,
            todo_id=todo.id,
            at=until,
            remind_at=plan.due(until),
            state=ReminderState.SCHEDULED,
        )
        await self._reminders.add([reminder])
        return reminder

    async def replan_account(self, owner_id: UUID, now: datetime, *, defaults_changed: bool) -> None:
        """After a change of preferences or time zone: move what is still to come.

        What is due by the new settings already is not lost, it goes out now.
        """
        plan = await self._plan(owner_id)
        if defaults_changed:
            for todo in await self._reminders.todos_with_default_reminders(owner_id):
                await self.replace(todo, None, now)
        for reminder, due_at in await self._reminders.lock_scheduled(owner_id):
            target = plan.target(reminder, due_at)
            if target is not None:
                reminder.remind_at = plan.due(target)
        await self._reminders.save()

    async def of_todo(self, owner_id: UUID, todo_id: UUID) -> list[tuple[Reminder, list[Delivery]]]:
        """The todo's reminders with their deliveries, by time."""
        return await self._reminders.with_deliveries(owner_id, todo_id)

    async def _plan(self, owner_id: UUID) -> Plan:
        preferences, timezone = await self._preferences.with_timezone(owner_id)
        quiet = None
        if preferences.quiet_start is not None and preferences.quiet_end is not None:
            quiet = QuietHours(preferences.quiet_start, preferences.quiet_end)
        return Plan(ZoneInfo(timezone), quiet, tuple(Offset.parse(text) for text in preferences.default_reminders))

    @staticmethod
    def _specs(specs: Sequence[ReminderSpec] | None, plan: Plan) -> Sequence[ReminderSpec]:
        return [ReminderSpec(before=offset) for offset in plan.defaults] if specs is None else specs

    def _build(
        self, todo: RemindedTodo, specs: Sequence[ReminderSpec] | None, plan: Plan, now: datetime
    ) -> list[Reminder]:
        past = [index for index, spec in enumerate(specs or ()) if spec.at is not None and spec.at <= now]
        if past:
            raise Invalid(*(Fault(f"reminders.{index}.at", "past") for index in past))
        reminders = [
            Reminder(
                account_id=todo.owner_id,
                todo_id=todo.id,
                before_days=spec.before.days if spec.before else None,
                before_seconds=spec.before.seconds if spec.before else None,
                at=spec.at,
                state=ReminderState.CANCELLED,
            )
            for spec in self._specs(specs, plan)
        ]
        for reminder in reminders:
            _follow(reminder, todo, plan, now)
        return reminders

    async def _apply(self, todo: RemindedTodo, reminders: Sequence[Reminder], plan: Plan, now: datetime) -> None:
        outdated = [reminder.id for reminder in reminders if _follow(reminder, todo, plan, now)]
        await self._reminders.save()
        if outdated:
            await self._reminders.cancel_deliveries(outdated)


def _is(reminder: Reminder, spec: ReminderSpec) -> bool:
    if spec.before is not None:
        return (reminder.before_days, reminder.before_seconds) == (spec.before.days, spec.before.seconds)
    return reminder.at == spec.at


def _follow(reminder: Reminder, todo: RemindedTodo, plan: Plan, now: datetime) -> bool:
    """Bring one reminder into line with its todo. True if what was on its way for it no longer counts."""
    target = plan.target(reminder, todo.due_at)
    if todo.completed or target is None:
        waiting = reminder.state in _WAITING
        if waiting or (target is None and reminder.state == ReminderState.SKIPPED):
            reminder.state = ReminderState.CANCELLED
        reminder.remind_at = plan.due(target) if target is not None else None
        return waiting
    remind_at = plan.due(target)
    if remind_at == reminder.remind_at and reminder.state != ReminderState.CANCELLED:
        return False
    # One that was put off by quiet hours, cancelled and restored is still ahead, though its own time has gone.
    ahead = target > now or (remind_at == reminder.remind_at and remind_at > now)
    reminder.remind_at = remind_at
    if reminder.claimed_at is not None and ahead:
        # It went out, or might have: what comes now is another occurrence, with delivery ids of its own.
        reminder.occurrence += 1
        reminder.claimed_at = None
    elif reminder.claimed_at is not None:
        # Moved or reopened into the past after it went out: nothing more to say.
        was_claimed = reminder.state == ReminderState.CLAIMED
        reminder.state = ReminderState.SKIPPED
        return was_claimed
    moved = reminder.state in _WAITING
    reminder.state = ReminderState.SCHEDULED if ahead else ReminderState.SKIPPED
    return moved
