"""The engine of one process: it claims due reminders, leases their deliveries, sends them and writes the outcomes.

PostgreSQL holds the whole state. A wake-up may be lost or come twice, and the process may die at any line: another
process reads in the rows what is left to do. `CrashPoints` names the lines that matter.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

import structlog

from todo_core.reminders.dispatch import Delivery, Dispatch
from todo_core.settings import WorkerSettings
from todo_worker.backoff import Backoff
from todo_worker.channel import Channel
from todo_worker.concurrency_limits import ConcurrencyLimits
from todo_worker.crash_points import CrashPoints
from todo_worker.metrics import Metrics
from todo_worker.outcome_writer import OutcomeWriter
from todo_worker.sender import Sender

_HANDED_OUT_AT_ONCE = 100
_HINTS_KEPT = 10_000
_GATHERING_SECONDS = 0.005
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class PeerNotifier(Protocol):
    """Notifies the other worker processes."""

    def notify(self, delivery_ids: Sequence[str]) -> None:
        """Ask one other process to look for these deliveries. The message may be lost."""

    def close(self) -> None:
        """Drop messages that are not published yet."""


class Pump:
    """Claims, leases and sends deliveries. Belongs to one event loop."""

    def __init__(
        self,
        dispatch: Dispatch,
        channels: Iterable[Channel],
        settings: WorkerSettings,
        metrics: Metrics,
        *,
        peers: PeerNotifier,
        statement_seconds: float = 10.0,
        crash_points: CrashPoints | None = None,
    ) -> None:
        channels = list(channels)
        self._dispatch = dispatch
        self._settings = settings
        self._metrics = metrics
        self._peers = peers
        self._seconds = statement_seconds
        self._crash_points = crash_points or CrashPoints()
        self._limits = ConcurrencyLimits(settings.slots, channels, settings.endpoint_slots)
        self._outcome_writer = OutcomeWriter(dispatch, metrics, self._crash_points, statement_seconds)
        self._sender = Sender(channels, settings, self._limits, self._outcome_writer, crash_points=self._crash_points)
        self._hints: deque[str] = deque(maxlen=_HINTS_KEPT)
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._turns = itertools.count()
        self._backoff = Backoff()
        self._left_over = False
        self._gathering: asyncio.TimerHandle | None = None

    def wake(self, delivery_ids: Iterable[str] = ()) -> None:
        """Make the pump look for deliveries to send: these first, if any are named."""
        self._hints.extend(delivery_ids)
        self._woken.set()

    async def claim(self) -> int:
        """Claim all due reminders and begin to send them; return how many there were."""
        if self._claiming.locked():
            return 0  # the claim that is running finds all of them
        async with self._claiming:
            total = 0
            for turn in itertools.count():
                # A backlog is worked off from its oldest end; a quarter of each round goes to the newest reminders.
                claimed = await self._ask(self._dispatch.claim(self._settings.claim_batch, newest_first=turn % 4 == 1))
                total += claimed.reminders
                self._metrics.claimed.inc(claimed.reminders)
                await self._crash_points.after_claim(claimed.deliveries)
                self._hand_out(claimed.deliveries)
                if claimed.reminders < self._settings.claim_batch or self._stopping.is_set():
                    return total
        return total

    async def run(self) -> None:
        """Work until `stop`; then finish or give back the deliveries under way, within the grace period."""
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(self._outcome_writer.run())
            polling = group.create_task(self._poll())
            sending = group.create_task(self._send_until_stopped(group))
            await self._stopping.wait()
            polling.cancel()
            # Deliveries that are being leased at this moment are still taken, if the database answers soon.
            await asyncio.wait((sending,), timeout=self._settings.grace_seconds * 0.1)
            sending.cancel()
            await self._finish()
            settling.cancel()

    def stop(self) -> None:
        """Take no new delivery."""
        self._stopping.set()
        self._woken.set()

    async def _poll(self) -> None:
        """Wake the pump regularly: wake-ups through Redis may be lost."""
        backoff = Backoff()
        while True:
            try:
                await self.claim()
            except Exception as error:  # it must go on, whatever happens
                _log.warning("claim_failed", **backoff.describe(error))
                await backoff.wait()
                continue
            backoff.reset()
            self.wake()
            await asyncio.sleep(self._settings.poll_seconds)

    async def _send_until_stopped(self, group: asyncio.TaskGroup) -> None:
        while not self._stopping.is_set():
            self._woken.clear()  # before the query, which may not see what is added meanwhile
            leased_at = time.monotonic()
            try:
                leased, everywhere = await self._lease()
            except Exception as error:  # it must go on, whatever happens
                _log.warning("lease_failed", **self._backoff.describe(error))
                await self._backoff.wait()
                continue
            self._backoff.reset()
            for delivery in leased:
                self._limits.take(delivery)
                self._metrics.leased(delivery)
            await self._crash_points.after_lease(leased)
            for delivery in leased:
                self._sender.begin(group, delivery, self._freed, leased_at=leased_at)
            self._metrics.under_way.set(self._limits.used)
            if leased and not self._limits.worthwhile():
                self._left_over = True
            elif leased or not everywhere:
                continue
            await self._woken.wait()

    async def _lease(self) -> tuple[Sequence[Delivery], bool]:
        """Lease as many deliveries as there is room for; return them, and whether the whole queue was searched."""
        rooms = self._limits.rooms()
        busy = self._limits.busy_endpoints()
        turn = next(self._turns) % 4
        limit = min(self._limits.free, sum(rooms.values()))
        # Half of the rounds go to deliveries that were just claimed, a quarter each to the oldest and the newest.
        among = [self._hints.popleft() for _ in range(min(limit, len(self._hints)))] if turn % 2 else []
        if not among:
            self._left_over = bool(busy) or not self._limits.roomy()
        if not limit:
            return (), True
        leased = await self._ask(
            self._dispatch.lease(
                limit,
                rooms=rooms,
                rationed=self._limits.separate,
                per_endpoint=self._limits.endpoint_room(),
                trusted=self._limits.trusted(),
                lease=timedelta(seconds=self._settings.lease_seconds),
                busy_endpoints=busy,
                newest_first=turn == 2,
                among=among or None,
            )
        )
        return leased, not among

    def _freed(self) -> None:
        """Note a free slot. If deliveries may be waiting, wake the pump in a moment, when more slots are free."""
        if self._left_over and self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHERING_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._woken.set()

    def _hand_out(self, delivery_ids: Sequence[str]) -> None:
        """Keep as many deliveries as this process has room for, and notify the other processes of the rest."""
        kept = max(_HANDED_OUT_AT_ONCE // 2, self._limits.free // 2)
        if delivery_ids:
            self.wake(delivery_ids[:kept])
        for start in range(kept, len(delivery_ids), _HANDED_OUT_AT_ONCE):
            self._peers.notify(delivery_ids[start : start + _HANDED_OUT_AT_ONCE])

    async def _ask(self, statement: Awaitable[_T]) -> _T:
        # The server ends a statement that takes too long. This timeout is for a server that does not answer at all.
        async with asyncio.timeout(self._seconds):
            return await statement

    async def _finish(self) -> None:
        """Wait for attempts to end, give back those that do not, and write all outcomes, within the grace period."""
        grace = self._settings.grace_seconds
        under_way = self._limits.used
        given_back = await self._sender.finish(within=grace * 0.6)
        try:
            async with asyncio.timeout(grace * 0.3):
                await self._outcome_writer.finished()
        except TimeoutError:
            _log.warning("stopped_unsettled")
        _log.info("pump_stopped", finished=under_way - given_back, given_back=given_back)
