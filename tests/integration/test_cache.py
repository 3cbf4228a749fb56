"""The list cache: it is used, and nothing that happens to Redis lets anybody read an old list."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from dev.valkey import EmbeddedValkey
from tests.conftest import RunApi
from tests.factories import Api, Person
from todo_core.settings import CacheSettings, RedisSettings

NOWHERE = "redis://127.0.0.1:1/0"


async def titles(person: Person) -> set[str]:
    """What the person's list shows."""
    return {item["title"] for item in (await person.list(limit=100))["items"]}


async def keys(redis_url: str, person: Person) -> list[bytes]:
    """What Redis holds of a person's lists."""
    async with Redis.from_url(redis_url) as redis:
        return [key async for key in redis.scan_iter(f"todo:list:{person.id}:*")]


async def test_a_list_is_kept_in_redis_for_its_time_and_read_from_there(
    run_api: RunApi, fragile_redis: EmbeddedValkey
) -> None:
    api = await run_api(CacheSettings(ttl_seconds=77, local_bytes=0), redis_url=fragile_redis.url)
    lin = await api.person()
    await lin.add_todo("real")
    assert await titles(lin) == {"real"}
    async with Redis.from_url(fragile_redis.url) as redis:
        await api.process.lists.written()
        (key,) = await keys(fragile_redis.url, lin)
        assert 0 < await redis.ttl(key) <= 77
        # What comes back shows where it came from.
        value = await redis.get(key)
        assert isinstance(value, bytes)
        version, _, _ = value.partition(b" ")
        await redis.set(key, version + b' {"items":[{"title":"from Redis"}],"next_cursor":null}', keepttl=True)
    assert await titles(lin) == {"from Redis"}


async def test_a_process_keeps_the_lists_that_it_sent_within_its_bytes(
    run_api: RunApi, fragile_redis: EmbeddedValkey
) -> None:
    api = await run_api(CacheSettings(local_bytes=2_000), redis_url=fragile_redis.url)
    lin = await api.person()
    await lin.add_todo("a")
    await titles(lin)
    await api.process.lists.written()
    async with Redis.from_url(fragile_redis.url) as redis:
        await redis.flushall()
        assert await titles(lin) == {"a"}
        assert await redis.dbsize() == 0, "neither Redis nor PostgreSQL was asked for the page"
        for number in range(20):
            await lin.add_todo(f"t{number}")
        await redis.flushall()
        for _ in range(2):
            assert len(await titles(lin)) == 21
            await api.process.lists.written()
        assert await redis.dbsize() == 1, "a page too large to keep comes from Redis"


async def test_empty_pages_count_with_what_is_kept_beside_them(run_api: RunApi) -> None:
    api = await run_api(CacheSettings(local_bytes=10_000))
    lin = await api.person()
    for day in range(1, 29):
        await lin.list(due_before=f"2026-01-{day:02}T00:00:00Z")
    assert 10 < len(api.process.lists._sent) < 20  # of 32 bytes and a key each


async def test_each_page_and_filter_is_kept_by_itself(api: Api, redis_url: str) -> None:
    lin = await api.person()
    for number in range(3):
        await lin.add_todo(f"t{number}")
    first = await lin.list(limit=1)
    second = await lin.list(limit=1, cursor=first["next_cursor"])
    done = await lin.list(limit=1, completed=True)
    for _ in range(2):
        assert await lin.list(limit=1) == first
        assert await lin.list(limit=1, cursor=first["next_cursor"]) == second
        assert await lin.list(limit=1, completed=True) == done
    await api.process.lists.written()
    assert len(await keys(redis_url, lin)) == 3


async def test_without_the_cache_nothing_is_kept(run_api: RunApi, redis_url: str) -> None:
    lin = await (await run_api(CacheSettings(enabled=False))).person()
    await lin.add_todo("a")
    assert await titles(lin) == {"a"}
    assert await keys(redis_url, lin) == []


WRITES: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", "", {"json": {"title": "new"}}),
    ("PUT", "", {"json": {"title": "new"}}),
    ("DELETE", "", {}),
    ("POST", "/complete", {}),
]


@pytest.mark.parametrize(("method", "suffix", "options"), WRITES)
async def test_every_write_is_seen_at_once_by_every_process(
    run_api: RunApi, method: str, suffix: str, options: dict[str, Any]
) -> None:
    here, there = await run_api(), await run_api()
    lin_here = await here.person()
    lin_there = there.as_seen_here(lin_here)
    todo = await lin_here.add_todo("old")
    before = await lin_there.list()
    assert before == await lin_there.list() == await lin_here.list()
    assert (await lin_here.request(method, f"/todos/{todo['id']}{suffix}", **options)).is_success
    assert await lin_there.list() == await lin_here.list() != before


async def write_and_read(writer: Person, readers: list[Person], rounds: int) -> None:
    """Write again and again; after each answer, no reader may see less than what was written."""
    todo = await writer.add_todo("0")
    path = f"/todos/{todo['id']}"
    answered = 0
    finished = asyncio.Event()

    async def read(reader: Person) -> None:
        while not finished.is_set():
            at_least = answered
            page = await reader.list()
            assert int(page["items"][0]["title"]) >= at_least, "an old list came back"

    async def write() -> None:
        nonlocal answered
        try:
            for number in range(1, rounds + 1):
                assert (await writer.patch(path, json={"title": str(number)})).status_code == 200
                answered = number
        finally:
            finished.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for reader in readers:
            group.create_task(read(reader))


async def test_under_concurrency_no_read_returns_a_list_older_than_the_last_answered_write(run_api: RunApi) -> None:
    apis = [await run_api() for _ in range(3)]
    lin = await apis[0].person()
    await write_and_read(lin, [api.as_seen_here(lin) for api in apis for _ in range(3)], rounds=80)


async def test_a_writer_that_cannot_reach_redis_leaves_no_old_list_behind(run_api: RunApi) -> None:
    reader_api = await run_api()
    writer_api = await run_api(RedisSettings(url=NOWHERE, retry_after_ms=1, timeout_ms=50))
    lin = await reader_api.person()
    writer = writer_api.as_seen_here(lin)
    assert (await writer.get("/readyz")).json()["down"] == ["redis"]
    await write_and_read(writer, [lin] * 4, rounds=80)


@pytest.mark.parametrize("persistent", [True, False])
async def test_a_redis_that_is_killed_and_restarted_over_and_over_brings_no_old_list_back(
    run_api: RunApi, fragile_redis: EmbeddedValkey, persistent: bool
) -> None:
    fragile_redis.stop()
    fragile_redis.persistent = persistent
    await asyncio.to_thread(fragile_redis.start)
    apis = [await run_api(RedisSettings(url=fragile_redis.url, retry_after_ms=1, timeout_ms=100)) for _ in range(2)]
    lin = await apis[0].person()

    async def torment() -> None:
        for _ in range(4):
            fragile_redis.kill()
            await asyncio.to_thread(fragile_redis.start)

    tormenting = asyncio.create_task(torment())
    await write_and_read(lin, [api.as_seen_here(lin) for api in apis for _ in range(2)], rounds=120)
    await tormenting
    assert (await lin.get("/readyz")).json()["status"] == "ok"


async def test_a_redis_restored_to_an_earlier_state_brings_no_old_list_back(
    run_api: RunApi, fragile_redis: EmbeddedValkey
) -> None:
    api = await run_api(CacheSettings(local_bytes=0), redis_url=fragile_redis.url)
    lin = await api.person()
    await lin.add_todo("first")
    await titles(lin)
    await api.process.lists.written()
    async with Redis.from_url(fragile_redis.url) as redis:
        (key,) = await keys(fragile_redis.url, lin)
        snapshot = await redis.dump(key)
        await lin.add_todo("second")
        await titles(lin)
        await api.process.lists.written()
        assert snapshot is not None
        await redis.flushall()
        await redis.restore(key, 60_000, snapshot)
    assert await titles(lin) == {"first", "second"}


async def test_a_counter_that_a_failover_set_back_brings_no_old_list_back(
    api: Api, lin: Person, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    before = await connection.fetchrow("SELECT change_seq, changed_at FROM accounts WHERE id = $1", lin.id)
    await lin.add_todo("lost with the old primary")
    assert await titles(lin) == {"lost with the old primary"}
    await connection.execute("DELETE FROM todos WHERE owner_id = $1", lin.id)
    await connection.execute("UPDATE accounts SET change_seq = $2, changed_at = $3 WHERE id = $1", lin.id, *before)
    await connection.close()
    await lin.add_todo("counted with the same number")
    assert await titles(lin) == {"counted with the same number"}


async def test_without_redis_everything_works_and_says_that_it_is_degraded(run_api: RunApi) -> None:
    lin = await (await run_api(RedisSettings(url=NOWHERE))).person()
    await lin.add_todo("a")
    assert await titles(lin) == {"a"}
    ready = await lin.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["down"]) == (200, "degraded", ["redis"])


async def test_a_redis_that_hangs_costs_a_request_its_time_limit_and_the_next_nothing(
    run_api: RunApi, fragile_redis: EmbeddedValkey
) -> None:
    api = await run_api(RedisSettings(url=fragile_redis.url, timeout_ms=200, retry_after_ms=60_000))
    lin = await api.person()
    await lin.add_todo("a")
    await titles(lin)
    fragile_redis.pause()
    try:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await titles(lin) == {"a"}
        assert loop.time() - started < 2
        started = loop.time()
        for _ in range(20):
            assert await titles(lin) == {"a"}
        assert loop.time() - started < 2  # 20 times 200 ms would be twice that
    finally:
        fragile_redis.resume()


async def test_what_redis_holds_is_taken_up_again_when_it_comes_back(
    run_api: RunApi, fragile_redis: EmbeddedValkey
) -> None:
    api = await run_api(RedisSettings(url=fragile_redis.url, retry_after_ms=1), CacheSettings(local_bytes=0))
    lin = await api.person()
    await lin.add_todo("a")
    fragile_redis.kill()
    assert await titles(lin) == {"a"}
    await asyncio.to_thread(fragile_redis.start)
    await lin.get("/readyz")
    await titles(lin)
    await api.process.lists.written()
    assert len(await keys(fragile_redis.url, lin)) == 1
