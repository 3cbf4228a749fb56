"""The Celery tasks. Each is safe to lose and to repeat, and only passes its work to the process's event loop.

A task that waited for its deliveries would hold the process until the slowest of them ends.
"""

from celery import shared_task

from todo_worker.app.process import current


@shared_task(name="todo.dispatch_due")
def dispatch_due() -> None:
    """Claim due reminders and begin to send them. Beat sends this task every second."""
    current().dispatch_due()


@shared_task(name="todo.deliver")
def deliver(delivery_ids: list[str]) -> None:
    """Look for these deliveries: another process has just made them."""
    current().deliver(delivery_ids)


@shared_task(name="todo.purge")
def purge() -> None:
    """Remove rows that are not needed any more. Beat sends this task every hour."""
    current().purge()
