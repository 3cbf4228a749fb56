"""What Celery is told: wishes, each safe to lose and to repeat. They only hand over to the process's event loop.

A task that waited for its deliveries would hold the whole batch, and the process, for the slowest of them.
"""

from celery import shared_task

from todo_worker.app.process import current


@shared_task(name="todo.dispatch_due")
def dispatch_due() -> None:
    """Claim what is due, and begin to send it. Beat asks for it every second."""
    current().dispatch_due()


@shared_task(name="todo.deliver")
def deliver(delivery_ids: list[str]) -> None:
    """Look for these deliveries: another process has just made them."""
    current().deliver(delivery_ids)


@shared_task(name="todo.purge")
def purge() -> None:
    """Remove what is not needed any more. Beat asks for it every hour."""
    current().purge()
