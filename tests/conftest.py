"""Shared fixtures: a throw-away PostgreSQL and Valkey, a migrated database, a running API, people.

`TEST_DATABASE_URL` (a superuser's, on a server where databases may be made and dropped) and `TEST_REDIS_SERVER` (the
path of a redis-server) choose other servers than the embedded ones: CI runs the integration ring on the oldest too.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from dev.postgres import EmbeddedPostgres
from dev.processes import scratch_directory
from dev.valkey import EmbeddedValkey
from tests.factories import Api, Person, running_api
from todo_core import logs
from todo_core.migrations import runner
from todo_core.settings import (
    CacheSettings,
    DatabaseSettings,
    PasswordSettings,
    RateLimitSettings,
    RedisSettings,
    RuntimeSettings,
    Settings,
    TokenSettings,
)

# A test run that is asked to stop stops its servers too.
signal.signal(signal.SIGTERM, signal.default_int_handler)

_numbers = itertools.count(1)
SETTINGS = {"DATABASE", "REDIS", "TOKEN", "CACHE", "API", "WORKER", "EMAIL", "WEBHOOK", "PUBLIC", "WATCH"}
TEST_KEYS = "test:0123456789abcdef0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the developer's environment nor their .env decides how a test ends."""
    outside = {name for name in os.environ if name.split("_")[0] in SETTINGS}
    with pytest.MonkeyPatch.context() as patch:
        for name in outside | ({"ENVIRONMENT", "LOG_LEVEL"} & os.environ.keys()):
            patch.delenv(name)
        patch.setattr("todo_core.settings.source.ENV_FILE", tmp_path_factory.getbasetemp() / "no.env")
        logs.configure(RuntimeSettings(environment="test"))
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A superuser's URL on a throw-away server."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with scratch_directory() as directory, EmbeddedPostgres(directory / "postgres", throwaway=True) as postgres:
        yield postgres.url("postgres")


def _redis_server(directory: Path) -> EmbeddedValkey:
    binary = os.environ.get("TEST_REDIS_SERVER")
    return EmbeddedValkey(directory, binary=Path(binary) if binary else None)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the shared Redis, which no test stops or pauses."""
    with _redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def fragile_redis(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Redis of this test's own, to be killed, restarted and paused."""
    with _redis_server(tmp_path / "redis") as server:
        yield server


MakeDatabase = Callable[[], Awaitable[str]]


@pytest.fixture(scope="session")
async def make_database(postgres_url: str) -> AsyncIterator[MakeDatabase]:
    """Makes empty databases."""
    made: list[str] = []

    async def make() -> str:
        name = f"todo_test_{os.getpid()}_{next(_numbers)}"
        connection = await asyncpg.connect(postgres_url)
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
        made.append(name)
        return urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))

    yield make
    if "TEST_DATABASE_URL" not in os.environ:
        return  # a server of this run's own goes as a whole, which is faster by a minute on a busy machine
    connection = await asyncpg.connect(postgres_url)
    for name in made:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await connection.close()


@pytest.fixture
async def empty_database(make_database: MakeDatabase) -> str:
    """The URL of a database of this test's own, with nothing in it."""
    return await make_database()


@pytest.fixture(scope="session")
async def database_url(make_database: MakeDatabase) -> str:
    """The URL of a migrated database that all tests share; each test has people of its own in it."""
    url = await make_database()
    await in_thread(runner.upgrade, make_settings(url))
    return url


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """Alembic runs an event loop of its own, which needs a thread of its own."""
    return await asyncio.to_thread(work, *arguments)


def make_settings(database_url: str, redis_url: str = "redis://127.0.0.1:1/0", *overrides: Any) -> Settings:
    """Settings for tests: cheap passwords, no limits; `overrides` replace whole concerns."""
    concerns = {
        type(concern): concern
        for concern in (
            RuntimeSettings(environment="test"),
            DatabaseSettings(url=database_url),
            RedisSettings(url=redis_url, retry_after_ms=50),
            CacheSettings(),
            PasswordSettings(bcrypt_cost=4),
            TokenSettings(keys=TEST_KEYS),
            RateLimitSettings(enabled=False),
            *overrides,
        )
    }
    return Settings(*concerns.values())


RunApi = Callable[..., Awaitable[Api]]


@pytest.fixture
async def run_api(database_url: str, redis_url: str) -> AsyncIterator[RunApi]:
    """Starts API processes of this test's own: `await run_api(CacheSettings(enabled=False), redis_url=…)`."""
    async with AsyncExitStack() as stack:

        async def run(*overrides: Any, redis_url: str = redis_url, database_url: str = database_url) -> Api:
            return await stack.enter_async_context(running_api(make_settings(database_url, redis_url, *overrides)))

        yield run


@pytest.fixture(scope="session")
async def api(database_url: str, redis_url: str) -> AsyncIterator[Api]:
    """The API process that most tests share. A test that breaks something starts its own."""
    async with running_api(make_settings(database_url, redis_url)) as running:
        yield running


@pytest.fixture
async def lin(api: Api) -> Person:
    """Give a person with a new account."""
    return await api.person()


@pytest.fixture
async def wang(api: Api) -> Person:
    """Give a second person."""
    return await api.person()
