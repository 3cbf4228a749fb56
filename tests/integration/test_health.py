"""The answers to probes: whether the process lives, and whether it can serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from dev.valkey import EmbeddedValkey
from tests.conftest import RunApi, in_thread, make_settings
from tests.factories import Api
from todo_api import probe
from todo_core.migrations import revisions, runner
from todo_core.settings import StreamSettings


def database_at(port: int) -> str:
    """A database server that is none, at a port of this machine."""
    return f"postgresql://todo:todo@127.0.0.1:{port}/todo"


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[int, list[object]]]:
    """Takes connections and never says a word: its port, and who came."""
    came: list[object] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("peername"))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], came


def not_ready(answer: httpx.Response, **checks: str) -> None:
    """Assert that this is a well-made "not ready" which says why."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (503, "not_ready")
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert problem["checks"].items() >= checks.items()
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_healthy_process_lives_and_is_ready(api: Api, slash: str) -> None:
    live = await api.http.get(f"/livez{slash}")
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    ready = await api.http.get(f"/readyz{slash}")
    assert (ready.status_code, ready.json()) == (
        200, {"status": "ok", "checks": {"database": "ok", "redis": "ok"}, "down": []},
    )  # fmt: skip
    assert ready.headers["cache-control"] == "no-store"


async def test_being_alive_touches_nothing(run_api: RunApi) -> None:
    async with silent_server() as (port, came):
        alone = await run_api(database_url=database_at(port), redis_url=f"redis://127.0.0.1:{port}/0")
        answers = await asyncio.gather(*(alone.http.get("/livez") for _ in range(5)))
        assert [answer.json() for answer in answers] == [{"status": "ok"}] * 5
        assert came == []


async def test_without_redis_the_service_is_degraded_and_says_what_is_down(
    run_api: RunApi, fragile_redis: EmbeddedValkey
) -> None:
    running = await run_api(redis_url=fragile_redis.url)
    degraded = {"status": "degraded", "checks": {"database": "ok", "redis": "down"}, "down": ["redis"]}
    assert (await running.http.get("/readyz")).json()["status"] == "ok"
    for break_it, repair in (
        (fragile_redis.kill, fragile_redis.restart),
        (fragile_redis.pause, fragile_redis.resume),
    ):
        await in_thread(break_it)
        answer = await running.http.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, degraded)
        await in_thread(repair)
        answer = await running.http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def elsewhere(url: str, what: str) -> str:
    """The server's URL, but for one thing that is wrong."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return {
        "no server": database_at(1),
        "no such database": urlunsplit(parts._replace(path="/no_such_database")),
        "no such role": urlunsplit(parts._replace(netloc=f"no_such_role:x@{host}")),
    }[what]


@pytest.mark.parametrize("what", ["no server", "no such database", "no such role"])
async def test_without_its_database_the_process_lives_and_is_not_ready(
    run_api: RunApi, database_url: str, what: str
) -> None:
    lost = await run_api(database_url=elsewhere(database_url, what))
    not_ready(await lost.http.get("/readyz"), database="down", redis="ok")
    assert (await lost.http.get("/livez")).status_code == 200


async def test_servers_that_never_answer_do_not_keep_a_probe_waiting(run_api: RunApi) -> None:
    async with silent_server() as (port, came):
        lost = await run_api(database_url=database_at(port), redis_url=f"redis://127.0.0.1:{port}/0")
        started = time.monotonic()
        not_ready(await lost.http.get("/readyz"), database="down", redis="down")
        assert time.monotonic() - started < 4
        assert came


async def test_a_database_that_comes_up_later_makes_the_process_ready(run_api: RunApi, empty_database: str) -> None:
    early = await run_api(database_url=empty_database)
    not_ready(await early.http.get("/readyz"), database="not migrated", redis="ok")
    await in_thread(runner.upgrade, make_settings(empty_database))
    assert (await early.http.get("/readyz")).status_code == 200
    # And a database that goes away and comes back, as in a restart of its server.
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    async with asyncio.timeout(5):  # the first probe may come before the process has seen that its connection is dead
        while (await early.http.get("/readyz")).status_code != 200:
            pass


async def test_the_database_must_be_at_the_codes_migration_or_a_newer_one(run_api: RunApi, empty_database: str) -> None:
    await in_thread(runner.upgrade, make_settings(empty_database))
    running = await run_api(database_url=empty_database)
    connection = await asyncpg.connect(empty_database)
    for revision, ready in (
        (revisions.head(), True),
        ("0001", False),
        ("9999_from_a_newer_release", True),
        (None, False),
    ):
        await connection.execute("DELETE FROM alembic_version")
        if revision is not None:
            await connection.execute("INSERT INTO alembic_version VALUES ($1)", revision)
        answer = await running.http.get("/readyz")
        if ready:
            assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        else:
            not_ready(answer, database="not migrated", redis="ok")
    await connection.close()


async def test_a_database_that_was_taken_down_a_migration_is_not_ready(run_api: RunApi, empty_database: str) -> None:
    await in_thread(runner.upgrade, make_settings(empty_database), "0001")
    running = await run_api(database_url=empty_database)
    not_ready(await running.http.get("/readyz"), database="not migrated")
    await in_thread(runner.upgrade, make_settings(empty_database))
    assert (await running.http.get("/readyz")).status_code == 200
    await in_thread(runner.downgrade, make_settings(empty_database), "-1")
    not_ready(await running.http.get("/readyz"), database="not migrated")


async def test_not_being_ready_is_said_in_the_readers_language(run_api: RunApi) -> None:
    lost = await run_api(database_url=database_at(1))
    answer = await lost.http.get("/readyz", headers={"Accept-Language": "zh-CN"})
    not_ready(answer, database="down")
    assert (answer.headers["content-language"], answer.json()["title"]) == ("zh-CN", "尚未就绪")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json"])
async def test_head_answers_as_get_does_without_the_body(api: Api, path: str) -> None:
    head = await api.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len((await api.http.get(path)).content))


async def test_head_of_the_stream_has_an_end_and_leaves_nothing_open(run_api: RunApi) -> None:
    api = await run_api(StreamSettings(per_account=1))
    lin = await api.person()
    for _ in range(3):
        head = await lin.request("HEAD", "/notifications/stream")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")


async def test_whoever_opens_the_service_in_a_browser_is_led_to_its_pages(api: Api) -> None:
    answer = await api.http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_dockers_health_check_says_whether_the_process_can_serve_and_why_not(
    run_api: RunApi, api: Api, empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await in_thread(probe.main, api.http.base_url.port) == 0
    assert capsys.readouterr() == ("", "")
    early = await run_api(database_url=empty_database)
    assert await in_thread(probe.main, early.http.base_url.port) == 1
    assert "not migrated" in capsys.readouterr().err
    assert await in_thread(probe.main, 1) == 1
    assert "/readyz does not answer" in capsys.readouterr().err
