"""The way to PostgreSQL: time limits, pools, lost connections, and a server that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dev.postgres import EmbeddedPostgres
from tests.conftest import RunApi, in_thread, make_settings
from tests.factories import Person, running_api
from todo_core.database import StatementPool, connect, dsn, is_outage
from todo_core.errors import Unavailable
from todo_core.migrations import runner
from todo_core.settings import DatabaseSettings


def assert_unavailable(answer: httpx.Response) -> None:
    """503, as a problem that says when to come back."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    assert "Traceback" not in answer.text


@asynccontextmanager
async def locked_account(database_url: str, person: Person) -> AsyncIterator[None]:
    """Hold the lock on the account's row in another transaction."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", person.id)
            yield
    finally:
        await connection.close()


async def test_a_write_that_waits_too_long_for_a_lock_is_told_to_come_back_and_leaves_nothing(
    run_api: RunApi, database_url: str
) -> None:
    lin = await (await run_api(DatabaseSettings(url=database_url, lock_timeout_ms=100))).person()
    async with locked_account(database_url, lin):
        assert_unavailable(await lin.post("/todos/", json={"title": "a"}))
        assert (await lin.get("/todos/")).status_code == 200, "a read waits for no lock"
    assert (await lin.list())["items"] == []
    assert (await lin.post("/todos/", json={"title": "a"})).status_code == 201


async def test_a_statement_that_takes_too_long_is_ended(run_api: RunApi, database_url: str) -> None:
    settings = DatabaseSettings(url=database_url, statement_timeout_ms=100, lock_timeout_ms=60_000)
    lin = await (await run_api(settings)).person()
    async with locked_account(database_url, lin):
        assert_unavailable(await lin.post("/todos/", json={"title": "a"}))
    assert (await lin.post("/todos/", json={"title": "a"})).status_code == 201


async def test_a_transaction_that_does_nothing_is_ended(database_url: str) -> None:
    connection = await connect(DatabaseSettings(url=database_url, idle_in_transaction_timeout_ms=50))
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.execute("BEGIN")
    async with asyncio.timeout(10):
        await ended.wait()


async def test_who_waits_too_long_for_a_connection_is_told_to_come_back(run_api: RunApi, database_url: str) -> None:
    settings = DatabaseSettings(url=database_url, pool_size=1, pool_timeout_seconds=0.2, lock_timeout_ms=60_000)
    lin = await (await run_api(settings)).person()
    async with locked_account(database_url, lin):
        writes = {asyncio.create_task(lin.post("/todos/", json={"title": title})) for title in "ab"}
        (refused,), (waiting,) = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        assert_unavailable(refused.result())
    assert (await waiting).status_code == 201


async def test_the_statement_pool_serves_in_the_order_of_asking_and_gives_up_in_time(database_url: str) -> None:
    pool = StatementPool(DatabaseSettings(url=database_url, statement_pool_size=1, pool_timeout_seconds=0.3))
    served: list[int] = []

    async def ask(number: int) -> None:
        await pool.fetch("SELECT pg_sleep(0.01)")
        served.append(number)

    await asyncio.gather(*(ask(number) for number in range(8)))
    assert served == list(range(8))
    slow = asyncio.create_task(pool.fetch("SELECT pg_sleep(1)"))
    with pytest.raises(Unavailable):
        await asyncio.gather(*(ask(number) for number in range(2)))
    await slow
    await pool.close()


async def test_a_read_that_nobody_waits_for_any_more_leaves_the_pool_usable(database_url: str) -> None:
    pool = StatementPool(DatabaseSettings(url=database_url, statement_pool_size=1))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.fetch("SELECT pg_sleep(5)")
        assert [row[0] for row in await pool.fetch("SELECT 1")] == [1]
    await pool.close()


async def test_ids_come_as_text(database_url: str) -> None:
    pool = StatementPool(DatabaseSettings(url=database_url))
    row = await pool.fetchrow("SELECT $1::uuid", "00000000-0000-0000-0000-000000000001")
    assert row is not None
    assert row[0] == "00000000-0000-0000-0000-000000000001"
    await pool.close()


async def test_connections_that_the_server_closed_fail_no_request(run_api: RunApi, make_database: object) -> None:
    url = await make_database()  # type: ignore[operator] # one of its own: others' connections stay
    await in_thread(runner.upgrade, make_settings(url))
    lin = await (await run_api(database_url=url)).person()
    other = await asyncpg.connect(url)
    for number in range(3):
        await asyncio.gather(*(lin.post("/todos/", json={"title": "a"}) for _ in range(4)), lin.list(limit=number + 1))
        ended = await other.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'todo'"
        )
        assert ended
        assert (await lin.post("/todos/", json={"title": "after"})).status_code == 201
        assert (await lin.get("/todos/", params={"limit": 50 + number})).status_code == 200
    await other.close()


async def test_a_server_that_dies_costs_time_and_nothing_that_was_answered(tmp_path: Path, redis_url: str) -> None:
    with EmbeddedPostgres(tmp_path / "postgres") as postgres:
        url = postgres.create_database("todo")
        settings = make_settings(url, redis_url, DatabaseSettings(url=url, connect_timeout_seconds=2))
        await in_thread(runner.upgrade, settings)
        async with running_api(settings) as api:
            lin = await api.person()
            answered: set[str] = set()
            for _ in range(2):
                for number in range(5):
                    answered.add((await lin.add_todo(f"t{number}"))["id"])
                postgres.kill()
                assert_unavailable(await lin.get("/todos/"))
                assert_unavailable(await lin.post("/todos/", json={"title": "lost"}))
                assert (await api.http.get("/livez")).status_code == 200
                assert (await api.http.get("/readyz")).status_code == 503
                await asyncio.to_thread(postgres.start)
                assert (await api.http.get("/readyz")).status_code == 200
                assert {todo["id"] for todo in (await lin.list(limit=100))["items"]} == answered


def caused_by(error: Exception) -> DBAPIError:
    """As SQLAlchemy wraps what the driver raised."""
    wrapped = Exception("adapter")
    wrapped.__cause__ = error
    return DBAPIError("SELECT 1", None, wrapped)


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (asyncpg.CannotConnectNowError("starting up"), True),
        (asyncpg.TooManyConnectionsError("full"), True),
        (asyncpg.QueryCanceledError("statement timeout"), True),
        (asyncpg.DeadlockDetectedError("deadlock"), True),
        (PoolTimeoutError("pool"), True),
        (caused_by(asyncpg.LockNotAvailableError("lock timeout")), True),
        (caused_by(ConnectionResetError()), True),
        (OperationalError("SELECT 1", None, Exception("adapter")), True),
        (InterfaceError("SELECT 1", None, Exception("adapter")), True),
        (DBAPIError("SELECT 1", None, Exception("adapter"), connection_invalidated=True), True),
        (caused_by(asyncpg.UndefinedTableError("no table")), False),
        (caused_by(asyncpg.UniqueViolationError("twice")), False),
        (asyncpg.PostgresSyntaxError("oops"), False),
        (ValueError(), False),
    ],
)
def test_an_outage_is_told_from_a_mistake(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage


@pytest.mark.parametrize(
    ("url", "password", "expected"),
    [
        ("postgresql://todo:old@db:5432/todo", None, "postgresql://todo:old@db:5432/todo"),
        ("postgresql://todo:old@db:5432/todo?sslmode=require", "n:e/w@%", "postgresql://todo:n%3Ae%2Fw%40%25@db:5432/todo?sslmode=require"),
        ("postgresql://todo@/todo?host=/run/pg", "x", "postgresql://todo:x@/todo?host=/run/pg"),
        ("postgresql+asyncpg://todo@db/todo", "x", "postgresql://todo:x@db/todo"),
    ],
)  # fmt: skip
def test_a_password_of_its_own_replaces_the_one_in_the_url(url: str, password: str | None, expected: str) -> None:
    assert dsn(DatabaseSettings(url=url, password=password)) == expected
