"""The rules of reminders: which a todo has, when each is due, and what a change does to those that exist."""

from collections.abc import Sequence
from copy import copy
from datetime import datetime
from uuid import UUID, uuid5

import asyncpg

from todo_core.errors import Fault, Invalid
from todo_core.reminders.models import DeliveryState, RemindedTodo, ReminderState
from todo_core.reminders.plan import Plan, PlannedReminder, ReminderSpec
from todo_core.reminders.repository import ReminderRepository

MOST_REMINDERS = 10


def shown_state(reminder: PlannedReminder, deliveries: Sequence[asyncpg.Record]) -> ReminderState:
    """A reminder's state as people see it: `sent` once any channel has delivered, `failed` once all have given up.

    It is worked out rather than stored, so that settling a delivery writes one row.
    """
    current = [delivery["state"] for delivery in deliveries if delivery["occurrence"] == reminder.occurrence]
    if reminder.claimed_at is not None and DeliveryState.SENT in current:
        return ReminderState.SENT
    if reminder.state == ReminderState.CLAIMED and current and set(current) == {DeliveryState.DEAD}:
        return ReminderState.FAILED
    return ReminderState(reminder.state)


class ReminderService:
    """Called by the rules of todos and of preferences, in their transactions, under the account's lock.

    `now` is always the instant of that change, by the database's clock.
    """

    def __init__(self, reminders: ReminderRepository) -> None:
        self._reminders = reminders

    async def plan_new(self, todo: RemindedTodo, specs: Sequence[ReminderSpec] | None, now: datetime) -> None:
        """Give a new todo its reminders: those asked for, or (None) the account's defaults.

        Raises:
            Invalid: one is to be at an instant that has passed.
        """
        plan = await self._reminders.plan(todo.owner_id)
        reminders = plan.build(todo, specs, now)
        if reminders:
            await self._reminders.save(todo, reminders)

    async def replace(self, todo: RemindedTodo, specs: Sequence[ReminderSpec] | None, now: datetime) -> None:
        """Give a todo other reminders; None: the account's defaults again.

        Those that are as asked for stay as they are, so that none goes out twice.

        Raises:
            Invalid: a new one is to be at an instant that has passed.
        """
        plan, existing = await self._reminders.lock(todo.owner_id, todo.id)
        kept: list[PlannedReminder] = []
        missing: list[ReminderSpec] = []
        for spec in plan.specs(specs):
            same = next((r for r in existing if r not in kept and r.is_as(spec)), None)
            if same is None:
                missing.append(spec)
            else:
                kept.append(same)
        gone = [reminder.id for reminder in existing if reminder not in kept]
        if gone:
            await self._reminders.delete(todo.owner_id, gone)
        await self._write(todo, kept, plan.build(todo, missing, now), plan, now)

    async def follow(self, todo: RemindedTodo, now: datetime) -> None:
        """Move, cancel or restore a todo's reminders after its due time or its completion changed.

        One that had no due time until now gets the account's defaults.
        """
        plan, reminders = await self._reminders.lock(todo.owner_id, todo.id)
        lacks_defaults = not todo.own_reminders and all(reminder.before_days is None for reminder in reminders)
        added = plan.build(todo, None, now) if lacks_defaults and todo.due_at is not None else []
        await self._write(todo, reminders, added, plan, now)

    async def snooze(self, todo: RemindedTodo, until: datetime, now: datetime) -> PlannedReminder:
        """Remind once more, at an instant.

        Raises:
            Invalid: it has passed, the todo is done, or it has its fill of reminders that are still to come.
        """
        if todo.completed:
            raise Invalid(Fault("completed", "snooze_done"))
        plan, existing = await self._reminders.lock(todo.owner_id, todo.id)
        if sum(reminder.state == ReminderState.SCHEDULED for reminder in existing) >= 2 * MOST_REMINDERS:
            raise Invalid(Fault("until", "too_many_reminders", {"most": 2 * MOST_REMINDERS}))
        if until <= now:
            raise Invalid(Fault("until", "past"))
        reminder = PlannedReminder(at=until, remind_at=plan.due(until), state=ReminderState.SCHEDULED)
        await self._reminders.save(todo, [reminder])
        return reminder

    async def replan_account(self, owner_id: UUID, now: datetime, *, defaults_changed: bool) -> None:
        """After a change of preferences or time zone: move what is still to come.

        What is due by the new settings already is not lost, it goes out now.
        """
        if defaults_changed:
            for todo in await self._reminders.todos_with_default_reminders(owner_id):
                await self.replace(todo, None, now)
        plan = await self._reminders.plan(owner_id)
        moved = [
            (reminder.id, plan.due(target))
            for reminder, due_at in await self._reminders.lock_scheduled(owner_id)
            if (target := plan.target(reminder, due_at)) is not None
        ]
        if moved:
            await self._reminders.move(owner_id, moved)

    async def of_todo(self, todo: RemindedTodo) -> list[tuple[PlannedReminder, list[asyncpg.Record]]]:
        """The todo's reminders with their deliveries, by time.

        The defaults that one without a due time would have are not stored, and are shown as they are now.
        """
        found = await self._reminders.with_deliveries(todo.owner_id, todo.id)
        if todo.due_at is None and not todo.own_reminders and all(r.before_days is None for r, _ in found):
            for offset in (await self._reminders.plan(todo.owner_id)).defaults:
                shown = PlannedReminder(offset.days, offset.seconds, id=uuid5(UUID(str(todo.id)), str(offset)))
                found.append((shown, []))
        return found

    async def _write(
        self,
        todo: RemindedTodo,
        existing: Sequence[PlannedReminder],
        added: Sequence[PlannedReminder],
        plan: Plan,
        now: datetime,
    ) -> None:
        changed = list(added)
        outdated = []
        for reminder in existing:
            before = copy(reminder)
            if reminder.follow(todo, plan, now):
                outdated.append(reminder.id)
            if reminder != before:
                changed.append(reminder)
        if changed:
            await self._reminders.save(todo, changed)
        if outdated:
            await self._reminders.cancel_deliveries(outdated)
