"""The ring of the Kubernetes manifests: what is rendered is checked (seconds), and then run on the Docker engine."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

from tests.k8s.engine import Cluster, Container, EngineError, build, docker
from tests.k8s.manifests import KUBECTL, Pod, documents, pods

# Every request of every poll would stand in the report of a failure.
logging.getLogger("httpx").setLevel(logging.WARNING)
TAG = "k8s"


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers of what needs the engine."""
    config.addinivalue_line("markers", "engine: runs containers (make k8s-pods)")
    config.addinivalue_line("markers", "ready: of those, each pod until it is ready, and no more (ARGS='-m ready')")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say at once what is missing."""
    if not KUBECTL.exists():
        pytest.exit("There is no .venv-k8s: run `make k8s-check`, or `make .venv-k8s/.ready` once.", returncode=2)


@pytest.fixture(scope="session")
async def images(_no_settings_from_outside: None) -> None:
    """Ours, as the working tree has them."""
    try:
        await docker("info", seconds=30)
    except (EngineError, OSError) as error:
        pytest.exit(f"The pods need a Docker engine to run on: {str(error).splitlines()[-1]}", returncode=1)
    await build(TAG)


@dataclass
class Stack:
    """A cluster with dev's PostgreSQL and Redis in it, both ready."""

    cluster: Cluster
    pods: dict[str, Pod]
    db: Container
    redis: Container

    @property
    def database_url(self) -> str:
        """PostgreSQL, from this machine."""
        return f"postgresql://todo:todo@{self.db.address}:5432/todo"

    @property
    def redis_url(self) -> str:
        """Redis, from this machine."""
        return f"redis://:todo@{self.redis.address}:6379/0"

    async def finished(self, name: str, **options: object) -> tuple[int, str]:
        """Run a Job's pod to its end; its exit status, and what it said."""
        container = await self.cluster.start(self.pods[name], **options)  # type: ignore[arg-type]
        return await container.ended(), await container.log()


@asynccontextmanager
async def opened(name: str, subnet: str | None = None) -> AsyncIterator[Cluster]:
    """A cluster of this name; nothing of it is left afterwards."""
    cluster = Cluster(f"todo-{TAG}-{os.getpid()}-{name}")
    await cluster.open(subnet)
    try:
        yield cluster
    finally:
        await cluster.close()


@pytest.fixture(scope="session")
async def stack(images: None) -> AsyncIterator[Stack]:
    """PostgreSQL and Redis of the overlay dev, and a migrated database."""
    found = pods(documents("dev", TAG))
    async with opened("dev") as cluster:
        db = await cluster.start(found["db"], aliases=["db"])
        redis = await cluster.start(found["redis"], aliases=["redis"])
        await db.ready()
        await redis.ready()
        running = Stack(cluster, found, db, redis)
        status, said = await running.finished("migrate")
        assert status == 0, said
        yield running


Run = Callable[..., Awaitable[Container]]


@pytest.fixture
async def run(stack: Stack) -> AsyncIterator[Run]:
    """Starts pods of dev, waits until they are ready, and removes them when the test is over."""
    async with AsyncExitStack() as left:

        async def start(name: str, **options: object) -> Container:
            container = await stack.cluster.start(stack.pods[name], **options)  # type: ignore[arg-type]
            stack.cluster.containers.remove(container)
            left.push_async_callback(container.remove)
            await container.ready()
            return container

        yield start


@pytest.fixture
async def sql(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection to the database, which has no account yet."""
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute("TRUNCATE accounts CASCADE")
    yield connection
    await connection.close()
