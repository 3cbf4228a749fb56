"""The Celery tasks. Each is safe to lose and to repeat, and only passes its work to the process's event loop.

A task that waited for its deliveries would hold the process until the slowest of them ends.
"""

from typing import TYPE_CHECKING

from celery import shared_task

if TYPE_CHECKING:
    from todo_worker.runtime import Runtime


@shared_task(name="todo.dispatch_due")
def dispatch_due() -> None:
    """Claim due reminders and begin to send them. Beat sends this task every second."""
    _runtime().dispatch_due()


@shared_task(name="todo.deliver")
def deliver(delivery_ids: list[str]) -> None:
    """Look for these deliveries: another process has just made them."""
    _runtime().deliver(delivery_ids)


@shared_task(name="todo.purge")
def purge() -> None:
    """Remove rows that are not needed any more. Beat sends this task every hour."""
    _runtime().purge()


def _runtime() -> "Runtime":
    # Beat imports this module for the names of the tasks alone, and would take 45 MB more with what carries them out.
    from todo_worker.app.process import current  # noqa: PLC0415

    return current()
