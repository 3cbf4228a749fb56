"""A PostgreSQL that hangs: its processes are stopped, so that it takes connections and statements and answers none."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import psutil
import pytest

from dev.postgres import EmbeddedPostgres
from tests.conftest import RunApi, in_thread, make_settings
from tests.factories import Api, Person
from tests.receivers import HttpReceiver, SmtpReceiver
from tests.worker_kit import QUICK, Office, eventually, office_settings
from todo_core.database import Database
from todo_core.migrations import runner
from todo_core.settings import CacheSettings, DatabaseSettings, WorkerSettings

LIMITS: dict[str, Any] = {"statement_timeout_ms": 500, "connect_timeout_seconds": 1.0, "pool_timeout_seconds": 1.0}
BOUND_SECONDS = 4.0
"""A connection is waited for, made, and asked: the sum of the limits, and a busy machine."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of this module's own."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("hanging") / "postgres", throwaway=True) as server:
        yield server


@pytest.fixture(scope="module")
async def url(postgres: EmbeddedPostgres) -> str:
    """A migrated database on it."""
    url = postgres.create_database("todo")
    await in_thread(runner.upgrade, make_settings(url))
    return url


@contextmanager
def hanging(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Stop every process of the server, while the block lasts."""
    postmaster = psutil.Process(int((postgres.path / "postmaster.pid").read_text(encoding="ascii").split()[0]))
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(stopped):
            process.send_signal(signal.SIGCONT)


async def served_again(person: Person) -> None:
    """Until every connection has been made anew: each of a pool's may be the one that is met."""

    async def serves() -> bool:
        answers = await asyncio.gather(*(person.get("/todos/") for _ in range(10)))
        return all(answer.status_code == 200 for answer in answers)

    await eventually(serves)


@pytest.fixture
async def hurried(run_api: RunApi, url: str) -> Api:
    """An API process that waits a second for PostgreSQL."""
    return await run_api(DatabaseSettings(url=url, **LIMITS), CacheSettings(enabled=False), database_url=url)


@pytest.mark.timeout(60)
async def test_what_is_asked_while_postgresql_hangs_is_answered_with_503_and_served_when_it_goes_on(
    postgres: EmbeddedPostgres, hurried: Api
) -> None:
    lin = await hurried.person()
    todo = await lin.add_todo()
    asked = {
        "list": lambda: lin.get("/todos/"),
        "read": lambda: lin.get(f"/todos/{todo['id']}"),
        "create": lambda: lin.post("/todos/", json={"title": "Bread"}),
        "complete": lambda: lin.post(f"/todos/{todo['id']}/complete"),
        "a bad body": lambda: lin.post("/todos/", json={}),
        "the account": lambda: lin.get("/users/me/"),
    }

    async def measured(name: str) -> tuple[str, int, bool, bool]:
        started = time.monotonic()
        answer = await asked[name]()
        return name, answer.status_code, "retry-after" in answer.headers, time.monotonic() - started < BOUND_SECONDS

    with hanging(postgres):
        for _ in range(2):  # with connections that were open, and without
            answers = await asyncio.gather(*map(measured, asked))
            assert answers == [(name, 503, True, True) for name in asked]
        ready = await hurried.http.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"] == "ok") == (503, False)
        assert (await hurried.http.get("/livez")).status_code == 200
    await served_again(lin)
    assert {(await asked[name]()).status_code for name in ("list", "read", "complete")} == {200}
    assert (await asked["create"]()).status_code == 201
    assert (await hurried.http.get("/readyz")).status_code == 200


@pytest.mark.timeout(60)
async def test_a_commit_that_is_not_answered_ends_its_connection_and_frees_its_place(
    postgres: EmbeddedPostgres, url: str
) -> None:
    database = Database(DatabaseSettings(url=url, pool_size=1, **LIMITS))
    try:
        async with database.sessions() as session:
            connection = await session.connection()
            await connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS committed (n int)")
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            with hanging(postgres):
                started = time.monotonic()
                with pytest.raises(TimeoutError):
                    await session.commit()
                assert time.monotonic() - started < 2
                assert driver.is_closed()
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        async with database.sessions() as session:
            await (await session.connection()).exec_driver_sql("SELECT 1")
    finally:
        await database.close()


@pytest.mark.timeout(60)
async def test_the_deadline_is_a_little_after_postgresqls_own_limit(url: str) -> None:
    database = Database(DatabaseSettings(url=url, statement_timeout_ms=300))
    try:
        with pytest.raises(asyncpg.QueryCanceledError):  # the server's word where it can give it
            await database.statements.fetch("SELECT pg_sleep(20)")
        assert await database.statements.fetch("SELECT 1")
    finally:
        await database.close()


@pytest.mark.timeout(90)
async def test_a_worker_goes_on_when_postgresql_does_and_loses_nothing(
    postgres: EmbeddedPostgres, url: str, redis_url: str, smtp: SmtpReceiver, http: HttpReceiver
) -> None:
    sql = await asyncpg.connect(url)
    office = Office(office_settings(url, redis_url, smtp.port), sql)
    try:
        lin = await office.account()
        await office.only(lin, "inbox", "webhook")
        await office.webhook(lin, http.url)
        settings = office.but(DatabaseSettings(url=url, **LIMITS), WorkerSettings(**QUICK))
        await office.start(settings=settings)
        await office.start(settings=settings)
        await office.remind_often(lin, 5)
        with hanging(postgres):
            await asyncio.sleep(3)  # longer than every limit: claims, leases and settlements all meet it
        await office.remind_often(lin, 5)
        await office.settled(20, 60)
        assert await office.states() == {"sent": 20}
        assert await sql.fetchval("SELECT count(*) FROM notifications WHERE account_id = $1", lin) == 10
        assert len(set(http.ids())) == 10
    finally:
        await office.close()
