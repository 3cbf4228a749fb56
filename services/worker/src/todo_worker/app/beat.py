"""Celery beat with its schedule in memory, so without a file. A second beat would only send each tick twice."""

from typing import Any

import structlog
from celery import beat

from todo_worker.heartbeat import Heartbeat

_MOST_WAITING = 100
_log = structlog.get_logger(__name__)


class Scheduler(beat.Scheduler):
    """Sends a task at each tick while a worker takes them, and goes on ticking while Redis is away."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._heartbeat = Heartbeat(self.app.conf["todo_settings"].worker)

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Beat, and send the due tasks; return the seconds until the next tick."""
        self._heartbeat.beat()
        seconds: float = super().tick(*arguments, **options)
        return seconds

    def apply_entry(self, entry: beat.ScheduleEntry, producer: Any = None) -> None:
        """Send one task. A failure is only logged: the next tick sends it again."""
        try:
            if self._waiting(producer) > _MOST_WAITING:
                _log.warning("tick_skipped", task=entry.task, reason="nobody takes them")
                return
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # kombu raises what its transports raise
            _log.warning("tick_lost", task=entry.task, reason=type(error).__name__)

    def close(self) -> None:
        """Stop, and remove the heartbeat file."""
        super().close()
        self._heartbeat.end()

    def _ensure_connected(self) -> Any:
        # The original waits here for Redis, and so for ever; each attempt to send connects by itself.
        return self.connection

    def _waiting(self, producer: Any) -> int:
        queue = self.app.conf.task_default_queue
        return int(producer.channel.queue_declare(queue).message_count)
