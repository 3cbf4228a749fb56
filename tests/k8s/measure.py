"""Measures each pod for `resources` in the manifests: python -m tests.k8s.measure (a minute, needs the engine)."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import httpx

from tests.k8s.conftest import TAG, Stack, opened
from tests.k8s.engine import Container, build
from tests.k8s.manifests import documents, pods
from tests.worker_kit import Office, office_settings

SECONDS = 15
CLIENTS = 24
REMINDERS = 5_000
PASSWORD = "correct horse battery staple"


async def measured(name: str, container: Container, work: str, count: int, begun: tuple[float, float]) -> None:
    """Print one line."""
    cpu, now = begun
    memory, after = await container.usage()
    seconds = time.monotonic() - now
    each = f"{1000 * (after - cpu) / count:8.2f} ms of a core each" if count else ""
    print(f"{name:8} {work:34} {memory:5.0f} MiB at most  {(after - cpu) / seconds:5.2f} cores  {each}", flush=True)


async def beginning(container: Container) -> tuple[float, float]:
    """Core seconds until now, and now."""
    return (await container.usage())[1], time.monotonic()


async def read(api: Container) -> int:
    """Lists and writes from many clients at once; how many were answered."""
    answered = 0
    until = time.monotonic() + SECONDS
    async with httpx.AsyncClient(base_url=f"http://{api.address}:8000", timeout=30, trust_env=False) as client:
        person = {"username": "lin", "email": "lin@example.com", "password": PASSWORD}
        (await client.post("/users/", json=person)).raise_for_status()
        token = (await client.post("/token", data=person)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"

        async def one(number: int) -> None:
            nonlocal answered
            while time.monotonic() < until:
                if answered % 5 == 0:
                    answer = await client.post("/todos/", json={"title": f"todo {number}"})
                else:
                    answer = await client.get("/todos/?limit=20")
                answer.raise_for_status()
                answered += 1

        await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    return answered


async def sign_in(api: Container) -> int:
    """Passwords, as many as it takes."""
    async with httpx.AsyncClient(base_url=f"http://{api.address}:8000", timeout=60, trust_env=False) as client:
        form = {"username": "lin", "password": PASSWORD}
        answers = await asyncio.gather(*(client.post("/token", data=form) for _ in range(20)))
    return sum(answer.status_code == 200 for answer in answers)


async def main() -> None:
    """Measure and print."""
    await build(TAG)
    found = pods(documents("dev", TAG))
    async with opened("measure") as cluster:
        db = await cluster.start(found["db"], aliases=["db"])
        redis = await cluster.start(found["redis"], aliases=["redis"])
        await db.ready()
        await redis.ready()
        stack = Stack(cluster, found, db, redis)
        status, said = await stack.finished("migrate")
        if status:
            raise SystemExit(said)
        api, worker, beat = [await cluster.start(found[name]) for name in ("api", "worker", "beat")]
        for container in (api, worker, beat):
            await container.ready()
        begun = {container.id: await beginning(container) for container in (api, worker, beat)}
        await asyncio.sleep(10)
        for name, container in (("api", api), ("worker", worker), ("beat", beat)):
            await measured(name, container, "idle, but for probes", 0, begun[container.id])
        start = await beginning(api)
        await measured("api", api, f"{CLIENTS} clients, lists and writes", await read(api), start)
        start = await beginning(api)
        await measured("api", api, "signing in, 20 at once", await sign_in(api), start)
        sql = await asyncpg.connect(stack.database_url)
        office = Office(office_settings(stack.database_url, stack.redis_url), sql)
        start = await beginning(worker)
        await office.remind_often(await office.account(), REMINDERS)
        await office.settled(REMINDERS, 120)
        await measured("worker", worker, f"{REMINDERS} reminders due at once", REMINDERS, start)
        await sql.close()
        for name, container in (("db", db), ("redis", redis)):
            await measured(name, container, "all of it", 0, (0.0, 0.0))


if __name__ == "__main__":
    asyncio.run(main())
