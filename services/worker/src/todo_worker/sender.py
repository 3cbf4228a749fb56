"""Sends deliveries: one task for each attempt, with a time limit, and an outcome at its end."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

import structlog

from todo_core.reminders.dispatch import Delivery, Outcome
from todo_core.settings import WorkerSettings
from todo_worker.channel import Channel, Failed, NotTried, NotWanted, Undeliverable
from todo_worker.concurrency_limits import ConcurrencyLimits
from todo_worker.crash_points import CrashPoints
from todo_worker.outcome_writer import OutcomeWriter

_LONGEST_REASON = 200
_CANCEL_AGAIN_SECONDS = 0.2
_log = structlog.get_logger(__name__)


class Sender:
    """Runs this process's attempts, each in its own task: none waits for another."""

    def __init__(
        self,
        channels: Iterable[Channel],
        settings: WorkerSettings,
        limits: ConcurrencyLimits,
        outcome_writer: OutcomeWriter,
        *,
        crash_points: CrashPoints,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._channels = {channel.name: channel for channel in channels}
        self._settings = settings
        self._limits = limits
        self._outcome_writer = outcome_writer
        self._crash_points = crash_points
        self._draw = draw
        self._tasks: set[asyncio.Task[None]] = set()
        self._giving_back = False

    def begin(
        self, group: asyncio.TaskGroup, delivery: Delivery, ended: Callable[[], None], *, leased_at: float
    ) -> None:
        """Start an attempt; `ended` is called when its slot is free again.

        `leased_at`: `time.monotonic()` before its lease was asked for.
        """

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._limits.give_back(delivery)
            ended()

        task = group.create_task(self._run(delivery, leased_at))
        self._tasks.add(task)
        task.add_done_callback(done)

    async def finish(self, within: float) -> int:
        """Wait for all attempts, and give back those that have not ended after so many seconds; return their number."""
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(self._tasks, timeout=within)
        self._giving_back = True
        given_back = len(late)
        while late:
            # More than once: before Python 3.12, `asyncio.wait_for`, which libraries use, may swallow a cancellation.
            for task in late:
                task.cancel()
            _, late = await asyncio.wait(late, timeout=_CANCEL_AGAIN_SECONDS)
        return given_back

    async def _run(self, delivery: Delivery, leased_at: float) -> None:
        try:
            outcome = await self._attempt(delivery, leased_at)
            await self._crash_points.after_send(delivery)
        except asyncio.CancelledError:
            if not self._giving_back:
                raise
            outcome = Outcome(delivery.id, delivery.fence, "pending", "given back by a worker that stopped")
        self._outcome_writer.add(delivery, outcome)

    async def _attempt(self, delivery: Delivery, leased_at: float) -> Outcome:
        if not delivery.wanted:
            return Outcome(delivery.id, delivery.fence, "cancelled")
        await self._crash_points.before_send(delivery)
        if time.monotonic() - leased_at > self._settings.lease_seconds - self._settings.send_seconds:
            # This process stood still (stopped, swapped out, starved): by now, or before we are done, another has
            # the lease and sends as well. The fence keeps us from settling, but nothing would keep us from sending.
            return Outcome(delivery.id, delivery.fence, "pending", "its lease was too old to send", timedelta())
        return await self._send(delivery)

    async def _send(self, delivery: Delivery) -> Outcome:
        try:
            async with asyncio.timeout(self._settings.send_seconds):
                await self._channels[delivery.channel].send(delivery)
        except TimeoutError:
            self._limits.timed_out(delivery)
            return self._failed(delivery, "timed out")
        except NotWanted:
            return Outcome(delivery.id, delivery.fence, "cancelled")
        except Undeliverable as error:
            self._limits.answered(delivery)
            return self._given_up(delivery, error.reason)
        except Failed as error:
            if not isinstance(error, NotTried):
                self._limits.answered(delivery)
            return self._failed(delivery, error.reason)
        except Exception as error:  # one delivery's error must not end the others
            _log.warning("send_broke", delivery=delivery.id, channel=delivery.channel, exc_info=error)
            return self._failed(delivery, type(error).__name__)
        self._limits.answered(delivery)
        return Outcome(delivery.id, delivery.fence, "sent")

    def _failed(self, delivery: Delivery, reason: str) -> Outcome:
        left = timedelta(seconds=self._settings.give_up_seconds) - delivery.age
        if left <= timedelta():
            return self._given_up(delivery, reason)
        longest = min(
            self._settings.retry_longest_seconds, self._settings.retry_seconds * 2 ** min(delivery.attempts - 1, 30)
        )
        # Full jitter: deliveries that failed together are not retried together. Never after the deadline.
        delay = min(timedelta(seconds=self._draw(0, longest)), left)
        _log.info(
            "delivery_failed",
            delivery=delivery.id,
            channel=delivery.channel,
            attempt=delivery.attempts,
            reason=reason,
            again_in=round(delay.total_seconds(), 3),
        )
        return Outcome(delivery.id, delivery.fence, "pending", reason[:_LONGEST_REASON], delay)

    def _given_up(self, delivery: Delivery, reason: str) -> Outcome:
        _log.warning(
            "delivery_dead",
            delivery=delivery.id,
            channel=delivery.channel,
            attempt=delivery.attempts,
            reason=reason,
        )
        return Outcome(delivery.id, delivery.fence, "dead", reason[:_LONGEST_REASON])
