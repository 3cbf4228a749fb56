"""The log of the service: one line a request, and no data that a reader of logs must not see.

A process of its own, started as in production: what counts is what arrives on its standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.conftest import TEST_KEYS, in_thread, make_settings
from todo_core.migrations import runner

REQUEST_FIELDS = {"request_id", "method", "route", "status", "ms", "user_id", "event", "level", "timestamp"}
USERNAME, EMAIL, PASSWORD = "discreet-lin", "discreet-lin@example.com", "s3cret-passphrase"
NEW_PASSWORD = "another-s3cret-passphrase"
TITLE, DESCRIPTION = "Buy a ring for Wang", "She must not know"


@dataclass
class Service:
    """A running process and what it has written so far."""

    http: httpx.AsyncClient
    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    async def read_line(self) -> dict[str, Any]:
        """The next line, which is JSON like every other."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            raw = (await self.process.stdout.readline()).decode()
            assert raw, (await self.process.stderr.read()).decode()
        line: dict[str, Any] = json.loads(raw)
        self.text.append(raw)
        self.lines.append(line)
        return line

    async def request(self, method: str, path: str, **options: Any) -> tuple[httpx.Response, dict[str, Any]]:
        """Send a request; its answer and the line that was written about it."""
        request_id = uuid4().hex
        headers = {"X-Request-Id": request_id, **options.pop("headers", {})}
        answer = await self.http.request(method, path, headers=headers, **options)
        while True:
            line = await self.read_line()
            if line["event"] == "request":
                assert line["request_id"] == request_id
                return answer, line

    async def stop(self) -> str:
        """End it as an operator does; everything it wrote to standard error."""
        if self.process.returncode is None:
            self.process.terminate()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        while raw := await self.process.stdout.readline():
            self.text.append(raw.decode())
            self.lines.append(json.loads(raw))
        errors = (await self.process.stderr.read()).decode()
        await self.process.wait()
        return errors


COMMAND = [sys.executable, "-m", "uvicorn", "todo_api.main:create_app", "--factory", "--port", "0"]


async def spawn(directory: Path, settings: dict[str, str]) -> asyncio.subprocess.Process:
    """Start a process as a server starts it."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*COMMAND, cwd=directory, env=settings, stdout=pipe, stderr=pipe)


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a process."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}}
    return {**kept, "ENVIRONMENT": "production", "TOKEN_KEYS": TEST_KEYS, "PASSWORD_BCRYPT_COST": "4", **settings}


StartService = Callable[[str, str], Awaitable[Service]]


@pytest.fixture
async def start_service(tmp_path: Path) -> AsyncIterator[StartService]:
    """Starts processes on a database and a Redis."""
    started: list[Service] = []

    async def start(database_url: str, redis_url: str) -> Service:
        settings = environment(DATABASE_URL=database_url, REDIS_URL=redis_url, REDIS_KEY_PREFIX="logs")
        process = await spawn(tmp_path, settings)
        service = Service(httpx.AsyncClient(timeout=15), process)
        started.append(service)
        while "Uvicorn running on" not in (line := await service.read_line())["event"]:
            pass
        address = re.search(r"http://127\.0\.0\.1:\d+", line["event"])
        assert address is not None
        service.http.base_url = httpx.URL(address[0])
        return service

    yield start
    for service in started:
        await service.http.aclose()
        await service.stop()


def signed(tokens: dict[str, str]) -> dict[str, str]:
    """Return the headers that sign a request."""
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def test_a_day_in_the_life_leaves_one_line_a_request_and_no_secret(
    start_service: StartService, empty_database: str, redis_url: str
) -> None:
    await in_thread(runner.upgrade, make_settings(empty_database))
    service = await start_service(empty_database, redis_url)
    registered, line = await service.request(
        "POST", "/users/", json={"username": USERNAME, "email": EMAIL, "password": PASSWORD}
    )
    assert (registered.status_code, line["route"], line["status"], line["user_id"]) == (201, "/users/", 201, None)

    answer, line = await service.request("POST", "/token", data={"username": USERNAME, "password": PASSWORD})
    tokens = answer.json()
    assert (line["method"], line["route"], line["status"]) == ("POST", "/token", 200)
    refusals = [
        await service.request("POST", "/token", data={"username": EMAIL, "password": NEW_PASSWORD}),
        await service.request("POST", "/token", json={"username": EMAIL, "password": NEW_PASSWORD}),
        await service.request("POST", "/users/", json={"username": USERNAME, "email": EMAIL, "password": PASSWORD}),
        await service.request("POST", "/users/", json={"username": "x", "email": "x", "password": NEW_PASSWORD[:9]}),
    ]
    assert [line["status"] for _, line in refusals] == [400, 415, 409, 422]

    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    answer, line = await service.request("POST", "/token", data=form)
    refreshed = answer.json()
    assert line["status"] == 200
    _, line = await service.request("POST", "/token", data=form)
    assert line["status"] == 400

    body = {"title": TITLE, "description": DESCRIPTION}
    answer, line = await service.request("POST", "/todos", json=body, headers=signed(tokens))
    todo = answer.json()
    user_id = registered.json()["id"]
    assert line == {
        "request_id": answer.headers["x-request-id"], "method": "POST", "route": "/todos/", "status": 201,
        "ms": line["ms"], "user_id": user_id, "event": "request", "level": "info", "timestamp": line["timestamp"],
    }  # fmt: skip
    assert 0 < line["ms"] < 15_000
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])

    _, line = await service.request(
        "PATCH", f"/todos/{todo['id']}/", json={"description": DESCRIPTION * 2}, headers=signed(tokens)
    )
    assert (line["route"], line["status"], line["user_id"]) == ("/todos/{todo_id}", 200, user_id)
    _, line = await service.request("GET", "/todos/?limit=7&cursor=s3cret-cursor", headers=signed(tokens))
    assert (line["route"], line["status"], line["user_id"]) == ("/todos/", 422, user_id)
    _, line = await service.request("GET", "/todos/?limit=7", headers=signed(tokens))
    assert line["status"] == 200
    _, line = await service.request("GET", f"/s3cret-path/{tokens['refresh_token']}")
    assert (line["route"], line["status"], line["user_id"]) == (None, 404, None)
    _, line = await service.request("PUT", "/todos/", content=TITLE.encode())
    assert (line["route"], line["status"]) == ("/todos/", 405)
    _, line = await service.request("POST", "/todos/", content=TITLE.encode() * 100_000, headers=signed(tokens))
    assert line["status"] == 413
    _, line = await service.request("GET", "/todos/", headers={"Authorization": "Bearer s3cret-forgery"})
    assert (line["status"], line["user_id"]) == (401, None)
    # A probe that is content leaves no line: the next one is of the next request.
    assert (await service.http.get("/livez")).status_code == 200

    # The same with failures: a lock that times out, an unexpected constraint, a table that is gone.
    database = await asyncpg.connect(empty_database)
    async with database.transaction():
        await database.execute("SELECT 1 FROM accounts FOR UPDATE")
        _, line = await service.request("POST", "/todos/", json=body, headers=signed(refreshed))
    assert (line["status"], line["level"], line["user_id"]) == (503, "warning", user_id)
    assert "lock timeout" in line["reason"]
    await database.execute("ALTER TABLE todos ADD CONSTRAINT unexpected CHECK (title = 'x') NOT VALID")
    _, line = await service.request("POST", "/todos/", json=body, headers=signed(refreshed))
    assert (line["status"], line["level"]) == (500, "error")
    assert "violates check constraint" in line["exception"]
    await database.execute("DROP TABLE todos CASCADE")
    await database.close()
    _, line = await service.request("POST", "/todos/", json=body, headers=signed(refreshed))
    assert (line["status"], line["level"], line["user_id"]) == (500, "error", user_id)
    assert 'relation "todos" does not exist' in line["exception"]

    changes = {"password": NEW_PASSWORD, "current_password": PASSWORD}
    _, line = await service.request("PATCH", "/users/me/", json=changes, headers=signed(refreshed))
    assert (line["route"], line["status"]) == ("/users/me/", 200)
    _, line = await service.request("GET", "/users/me/", headers=signed(refreshed))
    assert line["status"] == 401

    assert await service.stop() == ""
    assert service.lines[-1]["event"].startswith("Finished server process")
    secrets = [
        PASSWORD, NEW_PASSWORD, NEW_PASSWORD[:9], USERNAME, EMAIL, TITLE, DESCRIPTION, "s3cret", "limit=7",
        tokens["access_token"], tokens["refresh_token"], refreshed["access_token"], refreshed["refresh_token"],
        tokens["access_token"].split(".")[2], TEST_KEYS.partition(":")[2], "$2b$", "password_hash",
    ]  # fmt: skip
    text = "".join(service.text)
    assert [secret for secret in secrets if secret in text] == []
    requests = [line for line in service.lines if line["event"] == "request"]
    assert len({line["request_id"] for line in requests}) == len(requests) == 21
    for line in requests:
        assert REQUEST_FIELDS <= line.keys() <= REQUEST_FIELDS | {"exception", "reason"}


async def test_every_line_is_json_and_without_secrets_even_when_nothing_works(start_service: StartService) -> None:
    nowhere = "postgresql://lin:s3cret-of-the-database@127.0.0.1:1/todo"
    service = await start_service(nowhere, "redis://:s3cret-of-redis@127.0.0.1:1/0")
    _, line = await service.request("GET", "/readyz")
    assert (line["route"], line["status"]) == ("/readyz", 503)
    _, line = await service.request("POST", "/token", data={"username": USERNAME, "password": PASSWORD})
    assert (line["status"], line["level"]) == (503, "warning")
    assert "ConnectionRefusedError" in line["reason"]
    assert await service.stop() == ""
    text = "".join(service.text)
    assert "s3cret" not in text
    assert PASSWORD not in text
    assert "redis_unavailable" in [line["event"] for line in service.lines]


async def test_wrong_settings_end_the_start_with_a_sentence_and_no_secret(tmp_path: Path) -> None:
    settings = environment(TOKEN_KEYS="k:s3cret", DATABASE_URL="mysql://s3cret")
    process = await spawn(tmp_path, settings)
    output, errors = await process.communicate()
    assert process.returncode not in {0, None}
    said = (output + errors).decode()
    assert "DATABASE_URL" in said
    assert "postgresql://" in said
    assert "Traceback" not in said
    assert "s3cret" not in said
