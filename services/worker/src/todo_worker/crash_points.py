"""Crash points: the moments between statements at which a process may die, named so that a test can kill it there."""

from collections.abc import Sequence

from todo_core.reminders.dispatch import Delivery, Outcome


class CrashPoints:
    """The pump calls each as it gets there. They do nothing, unless a test overrides them."""

    async def after_claim(self, delivery_ids: Sequence[str]) -> None:
        """Reminders have become deliveries, and nobody has been told of them."""

    async def after_lease(self, deliveries: Sequence[Delivery]) -> None:
        """These are this process's own, and none has been begun."""

    async def before_send(self, delivery: Delivery) -> None:
        """The next line sends it."""

    async def after_send(self, delivery: Delivery) -> None:
        """It has been sent, and nobody knows."""

    async def before_settle(self, outcomes: Sequence[Outcome]) -> None:
        """The next line writes down how these ended."""
