"""Writes the outcomes of deliveries, in batches: each statement takes all that came while the one before ran."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from todo_core.reminders.dispatch import Delivery, Dispatch, Outcome
from todo_worker.backoff import Backoff
from todo_worker.crash_points import CrashPoints
from todo_worker.metrics import Metrics

_MOST_AT_ONCE = 500
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ended:
    delivery: Delivery
    outcome: Outcome


class OutcomeWriter:
    """Collects outcomes and settles them. While it runs it drops none, whatever the database does."""

    def __init__(
        self, dispatch: Dispatch, metrics: Metrics, crash_points: CrashPoints, statement_seconds: float
    ) -> None:
        self._dispatch = dispatch
        self._metrics = metrics
        self._crash_points = crash_points
        self._seconds = statement_seconds
        self._waiting: list[_Ended] = []
        self._any = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Queue an outcome to be written."""
        self._waiting.append(_Ended(delivery, outcome))
        self._any.set()
        self._none.clear()

    async def run(self) -> None:
        """Write the queued outcomes, until cancelled."""
        while True:
            await self._any.wait()
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            await self._settle(batch)
            if not self._waiting:
                self._any.clear()
                self._none.set()

    async def finished(self) -> None:
        """Wait until all outcomes are written."""
        await self._none.wait()

    async def _settle(self, batch: Sequence[_Ended]) -> None:
        outcomes = [ended.outcome for ended in batch]
        settled = await self._write_down(outcomes)
        for ended in batch:
            if ended.outcome.id in settled:
                self._metrics.settled(ended.delivery, ended.outcome)
            else:
                self._metrics.fence_lost(ended.delivery)
                _log.warning(
                    "fence_lost",
                    delivery=ended.delivery.id,
                    channel=ended.delivery.channel,
                    fence=ended.delivery.fence,
                    outcome=ended.outcome.state,
                )

    async def _write_down(self, outcomes: Sequence[Outcome]) -> set[str]:
        backoff = Backoff()
        while True:
            try:
                await self._crash_points.before_settle(outcomes)
                async with asyncio.timeout(self._seconds):
                    return await self._dispatch.settle(outcomes)
            except Exception as error:  # after any error, what was sent must still be written
                # Until the lease ends no other process sends them, and after that the fence refuses our outcomes.
                _log.warning("settle_failed", deliveries=len(outcomes), **backoff.describe(error))
                await backoff.wait()
