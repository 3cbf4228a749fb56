"""Notifies the other worker processes of new deliveries, by a Celery task that may be lost."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from celery import Celery

_EXPIRES_SECONDS = 5
_MOST_WAITING = 20
_log = structlog.get_logger(__name__)


class CeleryPeerNotifier:
    """Publishes from its own thread, because publishing with Celery blocks."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="peer-notifier")
        self._waiting = 0

    def notify(self, delivery_ids: Sequence[str]) -> None:
        """Ask one other process to look for these deliveries. While Redis is slow or away, polls find them instead."""
        if self._waiting >= _MOST_WAITING:
            return
        self._waiting += 1
        asyncio.get_running_loop().run_in_executor(self._thread, self._publish, list(delivery_ids)).add_done_callback(
            self._notified
        )

    def close(self) -> None:
        """Drop messages that are not published yet."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _publish(self, delivery_ids: list[str]) -> None:
        try:
            self._app.send_task(
                "todo.deliver", (delivery_ids,), expires=_EXPIRES_SECONDS, retry=False, ignore_result=True
            )
        except Exception as error:  # kombu raises what its transports raise
            _log.debug("peers_not_notified", reason=type(error).__name__)

    def _notified(self, _: object) -> None:
        self._waiting -= 1
