"""Faults on the running stack under load: failures are bounded and explained, nothing is lost, and it recovers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.stack.faults import Which, kill
from tests.stack.load import Load, Options, loading
from tests.stack.stack import PRODUCT, Stack
from tests.stack.tally import Failure

pytestmark = pytest.mark.timeout(240)
OUTAGE = 20.0
HEALTHY_WITHIN = 40.0
"""Seconds after the fault by which every container is healthy and the API answers through nginx."""
TOLD_WITHIN = 60.0
"""Seconds after that for every reminder to arrive: a lease of 30 s of a dead worker, and a poll after 5 s."""


@dataclass
class Trouble:
    """A fault and the load during it."""

    load: Load
    began: float = 0.0
    over: float = 0.0

    def failures_outside(self, seconds: float) -> list[Failure]:
        """Return the failures before the fault, or later than so many seconds after its start."""
        return [each for each in self.load.tally.failures if not 0 <= each.at - self.began <= seconds]


@asynccontextmanager
async def trouble(stack: Stack, *, fails_for: float, cut: set[str]) -> AsyncIterator[Trouble]:
    """Run load before, during and after the block's fault; then check the results.

    Reminders are counted in the inbox and on the stream. tests/chaos proves the same for mails and webhooks when
    processes are killed.

    Args:
        stack: the stack with the fault.
        fails_for: seconds from the fault to the last request that may fail because of it.
        cut: kinds of requests whose connections may break during the fault, as no server answers them.
    """
    await stack.healthy(HEALTHY_WITHIN)
    options = Options(stack.base_url, stack.ca, reminder_seconds=1.0)
    async with loading(options) as load:
        await asyncio.sleep(3)
        watched = Trouble(load, began=time.time())
        yield watched
        await stack.healthy(HEALTHY_WITHIN)
        watched.over = time.time()
        await asyncio.sleep(3)
        await load.stop(TOLD_WITHIN)
        last = max((each.at for each in load.tally.failures), default=watched.began) - watched.began
        print(
            f"\n{load.tally}\nlast failure after {last:.1f} s, all healthy after {watched.over - watched.began:.1f} s"
        )
        print(f"latest reminder {load.lateness()[-1]:.1f} s")
        assert await load.faults() == []
        impolite = [each for each in load.tally.impolite() if each.error is None or each.kind not in cut]
        assert impolite == [], "every other answer is a problem document with a Retry-After"
        assert watched.failures_outside(fails_for) == [], "all is well before, and again afterwards"


STREAM = {"stream"}
EVERYTHING = {"list", "inbox", "create", "read", "change", "complete", "delete", "stream", "sign-in"}


KILLED: dict[str, tuple[float, set[str]]] = {
    # Crash recovery.
    "db": (15.0, set()),
    "redis": (0.0, set()),
    # Its start, and what nginx heard meanwhile of a name that was gone (`valid=2s`). Its streams end in the middle.
    "api": (15.0, STREAM),
    "worker": (0.0, set()),
    "beat": (0.0, set()),
    # No server is there to answer.
    "nginx": (5.0, EVERYTHING),
}
"""The seconds in which requests may fail when a service is killed, and the kinds whose connections may break."""


@pytest.mark.soak
@pytest.mark.parametrize("which", ["init", "main"])
@pytest.mark.parametrize("service", PRODUCT)
async def test_a_killed_process_costs_seconds_and_nothing_else(stack: Stack, service: str, which: Which) -> None:
    fails_for, cut = KILLED[service]
    async with trouble(stack, fails_for=fails_for, cut=cut):
        await kill(stack, service, which)


async def test_an_api_that_is_killed_comes_back_by_itself(stack: Stack) -> None:
    """The short test; the other services are killed by `make soak`."""
    async with trouble(stack, fails_for=15, cut=STREAM):
        await kill(stack, "api", "main")


@pytest.mark.soak
async def test_postgresql_stopped_for_twenty_seconds_is_an_outage_that_says_so(stack: Stack) -> None:
    async with trouble(stack, fails_for=OUTAGE + 15, cut=set()) as watched:
        await stack.compose("stop", "db")
        await asyncio.sleep(OUTAGE)
        await stack.compose("start", "db")
    assert watched.load.tally.failures, "nothing can be read or written without it"


@pytest.mark.soak
async def test_redis_stopped_for_twenty_seconds_fails_no_request_and_loses_no_reminder(stack: Stack) -> None:
    async with trouble(stack, fails_for=0, cut=set()):
        await stack.compose("stop", "redis")
        await asyncio.sleep(OUTAGE)
        await stack.compose("start", "redis")


@pytest.mark.soak
async def test_nginx_restarted_breaks_connections_only_while_it_is_away(stack: Stack) -> None:
    """An open stream does not delay nginx's end either, during which no client could connect."""
    async with trouble(stack, fails_for=10, cut=EVERYTHING):
        await stack.compose("restart", "nginx")
