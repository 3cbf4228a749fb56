"""Pods that are stopped under load: Kubernetes' own sequence, step by step, without a failure for clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.k8s.balancer import Balancer
from tests.k8s.conftest import Run, Stack
from tests.k8s.engine import Container
from tests.receivers import HttpReceiver
from tests.stack.load import Options, loading
from tests.worker_kit import Office, eventually, office_settings

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


async def leave(container: Container, balancer: Balancer, others: list[Container]) -> int:
    """A pod is deleted. Its endpoint is taken away and preStop begins at the same moment; load balancers hear of it a
    little later, and SIGTERM comes when preStop has ended. The exit status.
    """
    pause = container.pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    pre_stop = asyncio.create_task(asyncio.sleep(pause))
    await asyncio.sleep(2)  # endpoint controller, then ALB
    balancer.lead_to(others)
    await pre_stop
    return await container.terminate()


async def test_an_api_pod_that_is_replaced_under_load_fails_no_request(
    stack: Stack, run: Run, tmp_path: Path, sql: asyncpg.Connection
) -> None:
    # The load comes from one address, which signs in more often than a person would.
    settings = {"RATE_LIMIT_ENABLED": "false", "FORWARDED_ALLOW_IPS": "*"}
    await run("worker")
    await run("beat")
    old, stays = await run("api", environment=settings), await run("api", environment=settings)
    balancer = Balancer(stack.cluster, tmp_path)
    try:
        await balancer.start([old, stays])
        async with loading(Options(balancer.url, balancer.ca, reminder_seconds=1.0)) as load:
            await asyncio.sleep(3)
            before = await stays.usage()
            # As a rolling update does it, with maxSurge 1 and maxUnavailable 0.
            new = await run("api", environment=settings)
            balancer.lead_to([old, stays, new])
            assert await leave(old, balancer, [stays, new]) == 0
            await asyncio.sleep(3)
            await load.stop()
            after = await stays.usage()
            print(
                f"\n{load.tally}\nThe pod that stayed: {after[0]:.0f} MiB at most, "
                f"{after[1] - before[1]:.1f} s of a core"
            )
            assert load.tally.failures == []
            assert await load.faults() == []
    finally:
        await balancer.close()


class Receiver(HttpReceiver):
    """A receiver of webhooks that knows its connections."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        peer = writer.get_extra_info("peername")[0]
        self.peers[peer] += 1
        try:
            await super().serve(reader, writer)
        finally:
            self.peers[peer] -= 1


@asynccontextmanager
async def receiver_at(address: str) -> AsyncIterator[Receiver]:
    """Run a receiver at an address that containers reach."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, address, 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.close()


REMINDERS = 60


async def test_a_worker_pod_that_is_stopped_at_work_loses_and_doubles_no_reminder(
    stack: Stack, run: Run, sql: asyncpg.Connection
) -> None:
    gateway = stack.cluster.gateway
    settings = {"WEBHOOK_ALLOWED_NETWORKS": f"{gateway}/32"}
    office = Office(office_settings(stack.database_url, stack.redis_url), sql)
    async with receiver_at(gateway) as receiver:
        receiver.behaviour = "stall"
        lin = await office.account()
        await office.only(lin, "inbox", "webhook")
        await office.webhook(lin, f"http://{gateway}:{receiver.port}")
        goes, stays = await run("worker", environment=settings), await run("worker", environment=settings)
        await run("beat")
        await office.remind_often(lin, REMINDERS)
        # It has its hands full: eight to one endpoint is what a process sends at once.
        await eventually(lambda: receiver.peers[goes.address] >= 8, 30)
        end = asyncio.create_task(goes.terminate())
        await eventually(lambda: said(goes, "Warm shutdown"), 10)
        receiver.released.set()
        assert await end == 0, await goes.log()
        await office.settled(2 * REMINDERS, 60)
        assert await stays.succeeds(stays.pod.container["livenessProbe"])
    assert await office.states("webhook") == {"sent": REMINDERS}
    assert await office.states("inbox") == {"sent": REMINDERS}
    assert len(receiver.ids()) == len(set(receiver.ids())) == REMINDERS
    assert await sql.fetchval("SELECT count(*) FROM notifications") == REMINDERS


async def said(container: Container, text: str) -> bool:
    """Tell whether the container has logged a text."""
    return text.lower() in (await container.log()).lower()
