"""`python -m bench.bare_loop DSN`: the engine's statements and sends with nothing around them, until nothing is due.

What the engine is held against: asyncpg and aiohttp alone, with the statements, the size of batches and the requests
(bytes, headers, signature) of the engine, and no Celery, no settings, no lease kept in mind, no slots, no metrics,
no retries, and no regard for a receiver that hangs. Two such loops share the process, so that one sends while the
other's statement is under way.
"""

import asyncio
import sys
from datetime import timedelta

import aiohttp
import asyncpg
import uvloop

from todo_core import clock
from todo_core.reminders.dispatch import _CLAIM, _LEASE, _SETTLE, Delivery
from todo_core.settings import WorkerSettings
from todo_worker.channels.webhook import payload, signed_headers

LOOPS = 2
_CLAIM_OLDEST = _CLAIM.format(direction="ASC")
_LEASE_OLDEST = _LEASE.format(direction="ASC", which="")


async def _connect(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn, server_settings={"plan_cache_mode": "force_generic_plan"})
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
    return connection


async def _send(session: aiohttp.ClientSession, delivery: Delivery) -> None:
    assert delivery.url is not None
    assert delivery.secret is not None
    body = payload(delivery)
    headers = {
        "Content-Type": "application/json",
        **signed_headers(delivery.id, body, [delivery.secret], clock.now()),
    }
    async with session.post(delivery.url, data=body, headers=headers, allow_redirects=False) as answer:
        await answer.read()
        answer.raise_for_status()


async def _loop(dsn: str, session: aiohttp.ClientSession, settings: WorkerSettings) -> None:
    connection = await _connect(dsn)
    at_once = settings.webhook_slots // LOOPS
    lease = timedelta(seconds=settings.lease_seconds)
    claimed = settings.claim_batch
    while True:
        if claimed == settings.claim_batch:
            claimed = (await connection.fetchrow(_CLAIM_OLDEST, settings.claim_batch))["reminders"]
        while rows := await connection.fetch(
            _LEASE_OLDEST, at_once, settings.endpoint_slots, lease, ["webhook"], [at_once], [], [], []
        ):
            deliveries = [Delivery(**row) for row in rows]
            await asyncio.gather(*(_send(session, delivery) for delivery in deliveries))
            await connection.fetch(
                _SETTLE,
                [delivery.id for delivery in deliveries],
                [delivery.fence for delivery in deliveries],
                ["sent"] * len(deliveries),
                [None] * len(deliveries),
                [None] * len(deliveries),
            )
        if claimed < settings.claim_batch:
            break
    await connection.close()


async def _run(dsn: str) -> None:
    settings = WorkerSettings()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        await asyncio.gather(*(_loop(dsn, session, settings) for _ in range(LOOPS)))


if __name__ == "__main__":
    uvloop.run(_run(sys.argv[1]))
