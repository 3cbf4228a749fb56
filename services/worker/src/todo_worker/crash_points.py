"""Crash points: named moments between statements, so that a test can kill the process at each."""

from collections.abc import Sequence

from todo_core.reminders.dispatch import Delivery, Outcome


class CrashPoints:
    """Called by the pump at each point. The methods do nothing, unless a test overrides them."""

    async def after_claim(self, delivery_ids: Sequence[str]) -> None:
        """The deliveries of due reminders are committed; no process has been notified of them."""

    async def after_lease(self, deliveries: Sequence[Delivery]) -> None:
        """The deliveries are leased by this process; no attempt has begun."""

    async def before_send(self, delivery: Delivery) -> None:
        """The next line sends the delivery."""

    async def after_send(self, delivery: Delivery) -> None:
        """The delivery is sent; its outcome is not recorded yet."""

    async def before_settle(self, outcomes: Sequence[Outcome]) -> None:
        """The next line writes these outcomes."""
