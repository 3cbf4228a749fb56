"""The stream of notifications: nothing is passed over or repeated, whatever happens to readers, Redis and processes."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from dev.valkey import EmbeddedValkey
from tests.conftest import TEST_KEYS, RunApi
from tests.factories import Api, Person
from tests.integration.test_processes import SERVERS, served
from tests.streaming import PATIENCE, ring, stream, tell, titles
from todo_core.settings import DatabaseSettings, RedisSettings, StreamSettings, TokenSettings

NOWHERE = "redis://127.0.0.1:1/0"


async def test_a_notification_reaches_a_client_of_any_process_and_one_that_was_away_misses_none(
    run_api: RunApi,
) -> None:
    here, there = await run_api(), await run_api(StreamSettings(poll_seconds=0.05))
    lin = await here.person()
    async with stream(there.as_seen_here(lin)) as events:
        first = await anext(events)
        assert "data" not in first, "an id to resume from, before anything has happened"
        for number in range(3):
            await tell(here, lin, f"n{number}", str(uuid4()))
        assert await titles(events, 3) == ["n0", "n1", "n2"]
    await tell(here, lin, "while away", str(uuid4()))
    async with stream(lin, last="2") as events:
        assert await titles(events, 2) == ["n2", "while away"]


async def test_redis_wakes_a_stream_at_once_and_without_it_the_poll_does(run_api: RunApi, redis_url: str) -> None:
    woken = await run_api(StreamSettings(poll_seconds=3_600))
    polled = await run_api(StreamSettings(poll_seconds=0.05), RedisSettings(url=NOWHERE, retry_after_ms=50))
    for api in (woken, polled):
        lin = await api.person()
        async with stream(lin) as events:
            await anext(events)
            seq = await tell(api, lin, "a", str(uuid4()))
            await ring(api, lin, seq)
            assert await titles(events, 1) == ["a"]


async def test_nothing_is_passed_over_or_repeated_while_many_tell_at_once(run_api: RunApi) -> None:
    api = await run_api(StreamSettings(poll_seconds=0.01))
    lin = await api.person()
    seen: list[str] = []

    async def read_and_resume() -> None:
        last = "0"
        while len(seen) < 60:
            async with stream(lin, last=last) as events, asyncio.timeout(PATIENCE):
                async for event in events:
                    last = event["id"]
                    if "data" in event:
                        seen.append(event["data"]["title"])
                        if len(seen) % 7 == 0 or len(seen) == 60:
                            break

    async with asyncio.TaskGroup() as group:
        group.create_task(read_and_resume())
        for number in range(60):
            group.create_task(tell(api, lin, f"n{number}", str(uuid4())))
    assert sorted(seen) == sorted(f"n{number}" for number in range(60))


async def test_a_stream_ends_when_its_token_expires_and_when_its_account_is_gone(run_api: RunApi) -> None:
    short = await run_api(TokenSettings(keys="a:0123456789abcdef0123456789abcdef", access_seconds=2))
    lin = await short.person()
    async with stream(lin) as events, asyncio.timeout(PATIENCE):
        assert [event async for event in events if "data" in event] == []
    api = await run_api(StreamSettings(poll_seconds=0.05))
    wang = await api.person()
    async with stream(wang) as events, asyncio.timeout(PATIENCE):
        await anext(events)
        await wang.request("DELETE", "/users/me/", json={"password": wang.password})
        assert [event async for event in events if "data" in event] == []


async def test_an_account_has_only_so_many_streams(run_api: RunApi) -> None:
    api = await run_api(StreamSettings(per_account=1))
    lin, wang = await api.person(), await api.person()
    async with stream(lin) as events:
        await anext(events)
        refused = await lin.get("/notifications/stream")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        async with stream(wang) as others:
            await anext(others)


async def test_a_silent_stream_shows_that_it_lives(run_api: RunApi) -> None:
    lin = await (await run_api(StreamSettings(heartbeat_seconds=0.05))).person()
    async with lin.http.stream("GET", "/notifications/stream", headers=lin.headers) as response:
        async for line in response.aiter_lines():
            if line.startswith(": "):
                return
    raise AssertionError("the stream ended")


async def test_without_an_id_a_stream_starts_from_now(api: Api, lin: Person) -> None:
    await tell(api, lin, "before")
    async with stream(lin) as events:
        assert await anext(events) == {"retry": "2000", "id": "1"}
        await ring(api, lin, await tell(api, lin, "after"))
        assert await titles(events, 1) == ["after"]


async def test_an_event_holds_what_the_list_shows(api: Api, lin: Person) -> None:
    await tell(api, lin, "a", str(uuid4()))
    async with stream(lin, params={"last_event_id": 0}) as events:
        await anext(events)
        event = await anext(events)
    (item,) = (await lin.get("/notifications/")).json()["items"]
    assert event == {"id": "1", "event": "notification", "data": item}
    assert item.keys() >= {"todo_id", "title", "due_at", "delivery_id"}


async def test_the_header_that_a_browser_resumes_with_goes_before_the_query_that_it_started_with(
    api: Api, lin: Person
) -> None:
    for title in "abc":
        await tell(api, lin, title)
    async with stream(lin, params={"last_event_id": 0}, last="2") as events:
        assert await titles(events, 1) == ["c"]


async def test_an_id_that_the_inbox_never_reached_is_taken_for_its_last(api: Api, lin: Person) -> None:
    """After a failover that lost the last commits, numbers are given anew: waiting for greater ones would miss them."""
    await tell(api, lin, "a")
    async with stream(lin, last="99") as events:
        assert (await anext(events))["id"] == "1"
        await ring(api, lin, await tell(api, lin, "b"))
        assert await titles(events, 1) == ["b"]


@pytest.mark.parametrize("last", ["-1", "x", "1.5", str(2**64)])
async def test_an_id_that_is_none_is_refused(lin: Person, last: str) -> None:
    by_header = await lin.get("/notifications/stream", headers={"Last-Event-ID": last})
    by_query = await lin.get("/notifications/stream", params={"last_event_id": last})
    assert (by_header.status_code, by_header.json()["errors"][0]["field"]) == (422, "Last-Event-ID")
    assert (by_query.status_code, by_query.json()["errors"][0]["field"]) == (422, "last_event_id")


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_a_stream_is_only_read(lin: Person, method: str) -> None:
    assert (await lin.request(method, "/notifications/stream")).status_code == 405


async def test_a_stream_is_its_owners_alone(api: Api, lin: Person, wang: Person) -> None:
    await tell(api, wang, "secret")
    async with stream(lin, last="0") as events:
        await anext(events)
        await ring(api, wang, await tell(api, wang, "another secret"))
        await ring(api, lin, await tell(api, lin, "mine"))
        assert await titles(events, 1) == ["mine"]
    assert (await api.http.get("/notifications/stream")).status_code == 401


async def test_streams_that_wait_hold_no_connection(run_api: RunApi, database_url: str) -> None:
    api = await run_api(
        DatabaseSettings(url=database_url, pool_size=1, statement_pool_size=1, pool_timeout_seconds=0.5)
    )
    people = [await api.person() for _ in range(5)]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(stream(person)) for person in people]
        for events in opened:
            await anext(events)
        assert (await people[0].get("/notifications/")).status_code == 200
        assert (await people[0].patch("/users/me", json={"locale": "zh"})).status_code == 200


async def test_a_process_has_only_so_many_streams(run_api: RunApi) -> None:
    api = await run_api(StreamSettings(most=1))
    lin, wang = await api.person(), await api.person()
    async with stream(lin) as events:
        await anext(events)
        refused = await wang.get("/notifications/stream")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    await until_closed(api)
    async with stream(wang) as events:
        await anext(events)


async def until_closed(api: Api) -> None:
    """Wait until the process has let go of every stream."""
    async with asyncio.timeout(PATIENCE):
        while api.process.streams.count:
            await api.http.get("/livez")


async def test_a_new_password_ends_the_streams_of_the_sessions_before(run_api: RunApi) -> None:
    here, there = await run_api(), await run_api(StreamSettings(poll_seconds=0.05))
    lin = await here.person()
    async with stream(there.as_seen_here(lin)) as events, asyncio.timeout(PATIENCE):
        await anext(events)
        change = {"password": "another horse battery", "current_password": lin.password}
        assert (await lin.patch("/users/me", json=change)).status_code == 200
        await tell(here, lin, "not for those who were signed in before")
        assert [event async for event in events if "data" in event] == []


async def test_a_redis_that_dies_and_comes_back_wakes_streams_again(
    run_api: RunApi, fragile_redis: EmbeddedValkey
) -> None:
    """Without the poll: what is told while Redis is away comes when it is back, and what follows comes at once."""
    api = await run_api(
        StreamSettings(poll_seconds=3_600), RedisSettings(url=fragile_redis.url, retry_after_ms=50, timeout_ms=2_000)
    )
    lin = await api.person()
    async with stream(lin) as events:
        await anext(events)
        await ring(api, lin, await tell(api, lin, "before"))
        assert await titles(events, 1) == ["before"]
        fragile_redis.kill()
        await tell(api, lin, "while Redis is dead")
        fragile_redis.start()
        assert await titles(events, 1) == ["while Redis is dead"]
        while not await api.process.redis.answers():
            pass
        await ring(api, lin, await tell(api, lin, "after"))
        assert await titles(events, 1) == ["after"]


async def test_a_postgresql_that_is_away_for_a_while_ends_no_stream(
    run_api: RunApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await run_api(StreamSettings(poll_seconds=0.02))
    lin = await api.person()
    async with stream(lin) as events:
        await anext(events)
        failed = asyncio.Event()

        async def refuse(*_: Any) -> Any:
            failed.set()
            raise ConnectionRefusedError

        with monkeypatch.context() as broken:
            broken.setattr(api.process.inbox_reads, "_statements", type("Down", (), {"fetch": staticmethod(refuse)}))
            await ring(api, lin, await tell(api, lin, "a"))
            await failed.wait()
        assert await titles(events, 1) == ["a"]


async def test_a_client_that_does_not_read_is_let_go(run_api: RunApi, database_url: str) -> None:
    api = await run_api(StreamSettings(send_seconds=0.2))
    lin = await api.person()
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO inboxes (account_id, last_seq) VALUES ($1, 2000)", lin.id)
    await connection.execute(
        "INSERT INTO notifications (id, account_id, seq, kind, title)"
        " SELECT gen_random_uuid(), $1::uuid, n, 'reminder', repeat('x', 5000) FROM generate_series(1, 2000) n",
        lin.id,
    )
    await connection.close()
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await asyncio.to_thread(idle.connect, ("127.0.0.1", api.port))
        token = lin.tokens["access_token"]
        request = "GET /notifications/stream?last_event_id=0 HTTP/1.1\r\nHost: x\r\n"
        request += f"Authorization: Bearer {token}\r\n\r\n"
        await asyncio.to_thread(idle.sendall, request.encode())
        async with asyncio.timeout(PATIENCE):
            while not api.process.streams.count:
                await api.http.get("/livez")
        await until_closed(api)
    # Who does read gets it, a page after the other.
    async with stream(lin, last="0") as events:
        await anext(events)
        assert [(await anext(events))["id"] for _ in range(250)] == [str(number) for number in range(1, 251)]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_is_asked_to_stop_ends_its_streams_and_is_gone_at_once(
    server: str, redis_url: str, tmp_path: Path, api: Api, lin: Person
) -> None:
    database_url = api.process.database.settings.url.get_secret_value()
    settings = {"ENVIRONMENT": "test", "DATABASE_URL": database_url, "REDIS_URL": redis_url, "TOKEN_KEYS": TEST_KEYS}
    async with (
        served(server, tmp_path, **settings) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=30) as http,
    ):
        seen_there = Person(http, lin.username, lin.email, lin.password, lin.id, lin.tokens)
        async with http.stream("GET", "/notifications/stream", headers=seen_there.headers) as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "retry: 2000"
            await ring(api, lin, await tell(api, lin, "here"))
            async with asyncio.timeout(PATIENCE):
                while not (await anext(lines)).startswith("data: "):
                    pass
                process.send_signal(signal.SIGTERM)
                # To the end, which is one: a body that is cut off raises.
                assert [line async for line in lines if line] == [": shutting_down"]
        assert await asyncio.to_thread(process.wait, 10) == (-signal.SIGTERM if server == "uvicorn" else 0)
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", range(6))
async def test_readers_who_come_and_go_see_each_notification_once_and_in_order(run_api: RunApi, seed: int) -> None:
    """Streams of two processes that break off anywhere, and a list that is walked meanwhile, by any size of page."""
    rng = random.Random(seed)
    apis = [await run_api(StreamSettings(poll_seconds=0.02)) for _ in range(2)]
    lin = await apis[0].person()
    told: list[str] = []

    async def add(count: int) -> None:
        for number in range(count):
            title = f"n{len(told)}-{number}"
            told.append(title)
            seq = await tell(rng.choice(apis), lin, title, str(uuid4()))
            if rng.random() < 0.5:
                await ring(apis[0], lin, seq)

    await add(rng.randrange(5, 15))
    streamed: list[str] = []
    listed: list[str] = []
    before, last = list(told), "0"
    cursor: str | None = None
    while True:
        page = await lin.get(
            "/notifications/", params={"limit": rng.randrange(1, 5), **({"cursor": cursor} if cursor else {})}
        )
        cursor = page.json()["next_cursor"]
        listed += [item["title"] for item in page.json()["items"]]
        await add(rng.randrange(3))
        async with stream(rng.choice(apis).as_seen_here(lin), last=last) as events, asyncio.timeout(PATIENCE):
            for _ in range(rng.randrange(4)):
                if len(streamed) == len(told):
                    break
                event = await anext(events)
                last = event["id"]
                streamed += [event["data"]["title"]] if "data" in event else []
        if cursor is None:
            break
    async with stream(lin, last=last) as events:
        streamed += await titles(events, len(told) - len(streamed)) if len(streamed) < len(told) else []
    assert streamed == told
    assert listed == before[::-1]
