"""What one client can make an API process keep: a real process, measured by the kernel."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import TEST_KEYS
from tests.factories import PASSWORD
from tests.integration.test_processes import served

SPELLINGS = 10_000
MOST_BYTES = 20 * 1024 * 1024


class Attacker:
    """Sends requests on one connection, which is opened anew whenever the server closes it."""

    def __init__(self, address: str) -> None:
        self._port = int(address.rpartition(":")[2])
        self.statuses: set[int] = set()

    async def send(self, heads: list[bytes]) -> None:
        """One request after the other."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for head in heads:
            writer.write(head)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            self.statuses.add(int(answer.split()[1]))
            length = int(answer.partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
            if b"connection: close" in answer:
                writer.transport.abort()
                with suppress(ConnectionError):
                    await writer.wait_closed()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.close()
        await writer.wait_closed()


def head(token: str, *headers: bytes) -> bytes:
    """A request for the account, by this spelling of its token."""
    authorization = f"Authorization: Bearer {token}".encode()
    return b"\r\n".join([b"GET /todos/ HTTP/1.1", b"Host: x", authorization, *headers, b"", b""])


@pytest.mark.timeout(180)
async def test_no_spelling_of_a_token_and_no_size_of_headers_makes_a_process_grow(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = {"ENVIRONMENT": "test", "DATABASE_URL": database_url, "REDIS_URL": redis_url, "TOKEN_KEYS": TEST_KEYS}
    async with served("uvicorn", tmp_path, **settings) as (process, address):
        async with httpx.AsyncClient(base_url=address, timeout=30) as http:
            account = {"username": "memory", "email": "memory@example.com", "password": PASSWORD}
            assert (await http.post("/users/", json=account)).status_code == 201
            token = (await http.post("/token", data=account)).json()["access_token"]
        attacker = Attacker(address)
        await attacker.send([head(token), head("x"), head(token, b"X: " + b"x" * 40_000)] * 100)
        assert attacker.statuses == {200, 401, 431}
        memory = psutil.Process(process.pid)
        before = memory.memory_info().rss
        spellings = [head(token + "#" * (number % 30_000)) for number in range(1, SPELLINGS + 1)]
        sizes = [head(token, b"X: " + b"x" * size) for size in range(0, 32_768, 64)]
        many = [head(token, *(b"X-%d: x" % number for number in range(count))) for count in range(0, 100, 5)]
        beyond = [head(token, b"X: " + b"x" * (40_000 << shift)) for shift in range(7)]
        for heads in (spellings, sizes, many, beyond):
            await attacker.send(heads)
        assert attacker.statuses == {200, 401, 431}
        grown = memory.memory_info().rss - before
    assert grown < MOST_BYTES, f"{grown / 1024 / 1024:.1f} MiB"
    print(f"grew by {grown / 1024 / 1024:.1f} MiB")
