"""The runtime of one worker process: an event loop in its own thread, a pool of connections, the channels, the pump.

They live as long as the process. Tasks run in the main thread and pass their work to the loop; a loop for each task
would lose its connections at the end of the task.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import structlog
import uvloop
from prometheus_client import REGISTRY, CollectorRegistry

from todo_core.purge import Purge
from todo_core.settings import Settings
from todo_worker.assembly import Parts, assemble
from todo_worker.backoff import Backoff
from todo_worker.heartbeat import Heartbeat
from todo_worker.metrics import Metrics
from todo_worker.pump import PeerNotifier

_LINE_SECONDS = 60
_BACKLOG_SECONDS = 15
_log = structlog.get_logger(__name__)


class Runtime:
    """Runs the engine of one process. Its methods are called from the thread that runs tasks, and return at once."""

    def __init__(self, settings: Settings, peers: PeerNotifier, registry: CollectorRegistry = REGISTRY) -> None:
        self._settings = settings
        self._peers = peers
        self._metrics = Metrics(registry)
        self._thread = threading.Thread(target=self._run, name="runtime", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parts: Parts | None = None
        self._stopping = asyncio.Event()
        self._purging = False

    def start(self) -> None:
        """Start the event loop and the engine. No other server has to be running."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Finish or give back the deliveries under way, within the grace period."""
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(self._settings.worker.grace_seconds + 5)

    def dispatch_due(self) -> None:
        """Claim and send due reminders."""
        _log.debug("tick")
        self._metrics.ticks.inc()
        self._submit(self._dispatch_due())

    def deliver(self, delivery_ids: list[str]) -> None:
        """Send these deliveries, unless another process does."""
        self._submit(self._deliver(delivery_ids))

    def purge(self) -> None:
        """Remove rows that are not needed any more."""
        self._submit(self._purge())

    def _submit(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None or self._stopping.is_set():
            work.close()
            return
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop has just ended
            work.close()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._live())
        except BaseException as error:  # without its loop the process would do nothing for ever
            _log.critical("runtime_died", exc_info=error)
            os._exit(70)  # the supervisor starts another in its place

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parts = parts = assemble(self._settings, self._metrics, self._peers)
        await parts.open()
        heartbeat = Heartbeat(self._settings.worker)
        background = [
            asyncio.create_task(heartbeat.run()),
            asyncio.create_task(self._watch_parent()),
            asyncio.create_task(self._watch_verification(parts)),
            asyncio.create_task(self._tell(parts)),
            asyncio.create_task(self._stop_when_told(parts)),
        ]
        self._ready.set()
        _log.info("runtime_started")
        try:
            await parts.pump.run()
        finally:
            for task in background:
                task.cancel()
            self._peers.close()
            await parts.close()
            heartbeat.end()

    async def _stop_when_told(self, parts: Parts) -> None:
        await self._stopping.wait()
        parts.pump.stop()

    async def _watch_parent(self) -> None:
        """Stop when the parent process is gone: nothing else would stop this one."""
        parent = os.getppid()
        while os.getppid() == parent:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(1)
        _log.warning("parent_gone")
        self._stopping.set()

    async def _dispatch_due(self) -> None:
        assert self._parts is not None  # noqa: S101 - the loop runs only once it is there
        try:
            await self._parts.pump.claim()
            self._parts.pump.wake()
            await self._parts.verification.send_waiting()
        except Exception as error:  # the next tick comes in a second
            _log.warning("dispatch_failed", **Backoff.describe(error))

    async def _deliver(self, delivery_ids: list[str]) -> None:
        assert self._parts is not None  # noqa: S101 - the loop runs only once it is there
        self._parts.pump.wake(delivery_ids)

    async def _watch_verification(self, parts: Parts) -> None:
        """Send the waiting verification mails at regular intervals."""
        while True:
            await asyncio.sleep(self._settings.worker.poll_seconds)
            try:
                await parts.verification.send_waiting()
            except Exception as error:  # it must go on, whatever happens
                _log.warning("verification_failed", **Backoff.describe(error))

    async def _purge(self) -> None:
        assert self._parts is not None  # noqa: S101 - the loop runs only once it is there
        if self._purging:
            return
        self._purging = True
        purge = Purge(self._parts.statements)
        try:
            _log.info(
                "purged",
                refresh_tokens=await purge.refresh_tokens(),
                deliveries=await purge.deliveries(),
                verifications=await purge.verifications(),
                mailed_addresses=await purge.mailed_addresses(),
            )
        except Exception as error:  # the next one comes in an hour
            _log.warning("purge_failed", **Backoff.describe(error))
        finally:
            self._purging = False

    async def _tell(self, parts: Parts) -> None:
        """Keep the gauges current, and log a summary once a minute."""
        for turn in range(1, 2**62):
            await asyncio.sleep(_BACKLOG_SECONDS)
            try:
                self._metrics.backlog(await parts.dispatch.backlog())
            except Exception as error:  # it must go on, whatever happens
                _log.warning("backlog_unknown", **Backoff.describe(error))
            if turn % (_LINE_SECONDS // _BACKLOG_SECONDS) == 0:
                _log.info("worker_state", **self._metrics.line())
