"""People and the API they talk to, as tests need them: real HTTP on a real socket, in this process."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from todo_api.dependencies import Process
from todo_api.main import create_app
from todo_api.protocol import BoundedHttp
from todo_core.settings import Settings

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)

Todos = list[dict[str, Any]]


class _Server(uvicorn.Server):
    """A uvicorn that leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Person:
    """Somebody with an account, signed in."""

    http: httpx.AsyncClient
    username: str
    email: str
    password: str
    id: str
    tokens: dict[str, Any] = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What signs a request."""
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A signed request; `headers` are added to the signature."""
        headers = {**self.headers, **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """GET, signed."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """POST, signed."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> httpx.Response:
        """PUT, signed."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> httpx.Response:
        """PATCH, signed."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        """DELETE, signed."""
        return await self.request("DELETE", path, **options)

    async def add_todo(self, title: str = "Buy milk", **fields: Any) -> dict[str, Any]:
        """A new todo, as the API answered it."""
        answer = await self.post("/todos/", json={"title": title, **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def list(self, **params: Any) -> dict[str, Any]:
        """One page."""
        answer = await self.get("/todos/", params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def walk(self, **params: Any) -> Todos:
        """Every page, from the first to the last."""
        items: Todos = []
        page = await self.list(**params)
        items += page["items"]
        while page["next_cursor"] is not None:
            page = await self.list(**params, cursor=page["next_cursor"])
            items += page["items"]
        return items


@dataclass
class Api:
    """One running API process (its server runs in the test's event loop, on a port of its own)."""

    app: FastAPI
    http: httpx.AsyncClient
    port: int

    @property
    def process(self) -> Process:
        """Its parts, for tests that break one."""
        process: Process = self.app.state.process
        return process

    async def person(self, **fields: str) -> Person:
        """A new account, signed in."""
        number = next(_numbers)
        details = {
            "username": f"person{number}",
            "email": f"person{number}@example.com",
            "password": PASSWORD,
            **fields,
        }
        registered = await self.http.post("/users/", json=details)
        assert registered.status_code == 201, registered.text
        return Person(
            self.http,
            details["username"],
            details["email"],
            details["password"],
            registered.json()["id"],
            await self.sign_in(details["username"], details["password"]),
        )

    async def sign_in(self, username: str, password: str = PASSWORD) -> dict[str, Any]:
        """A pair of tokens."""
        answer = await self.http.post("/token", data={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def as_seen_here(self, person: Person) -> Person:
        """The same person, talking to this process instead."""
        return Person(self.http, person.username, person.email, person.password, person.id, person.tokens)


@asynccontextmanager
async def running_api(settings: Settings) -> AsyncIterator[Api]:
    """An API process with these settings, until the block ends."""
    app = create_app(settings)
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without, each answer waits for 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = _Server(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", http=BoundedHttp, server_header=False)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.005)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15) as http:
            yield Api(app, http, port)
        server.should_exit = True
        await serving
