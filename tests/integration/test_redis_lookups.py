"""The lookup of a name that does not resolve must not delay other lookups."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import RedisError

from todo_core.redis_client import connect
from todo_core.settings import RedisSettings


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_the_name_of_a_redis_that_is_gone_is_looked_up_once_at_a_time(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    lookups: list[str] = []
    refused = asyncio.Event()

    async def slow(host: str, *_: Any, **__: Any) -> list[Any]:
        lookups.append(host)
        await refused.wait()
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(loop, "getaddrinfo", slow)
    client = connect(RedisSettings(url=f"{scheme}://gone.invalid:6379/0", timeout_ms=20))
    try:
        for _ in range(5):
            with pytest.raises(RedisError, match="Timeout"):
                await client.ping()
        assert lookups == ["gone.invalid"]
        refused.set()
        with pytest.raises(RedisError):
            await client.ping()
        assert len(lookups) <= 2, "once that one has ended, it is asked for anew"
    finally:
        await client.aclose()


async def test_a_redis_that_is_there_answers(redis_url: str) -> None:
    client = connect(RedisSettings(url=redis_url))
    try:
        assert await client.ping()
    finally:
        await client.aclose()
