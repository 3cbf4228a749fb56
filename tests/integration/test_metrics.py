"""The API's metrics, on real server processes: what is counted, under which labels, and who serves it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from dev.processes import free_port
from tests.conftest import TEST_KEYS
from tests.factories import PASSWORD
from tests.integration.test_processes import environment, served

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
STRANGE = ("LOCK", "MKCOL", "PROPFIND", "PURGE", "REPORT", "SEARCH", "SUBSCRIBE", "TRACE")
Samples = dict[tuple[str, str], float]


@dataclass
class Measured:
    """A server that is running, and where its metrics are."""

    process: subprocess.Popen[bytes]
    http: httpx.AsyncClient
    port: int
    directory: Path

    async def scrape(self) -> Samples:
        """Scrape; return the values by name and labels."""
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"http://127.0.0.1:{self.port}/metrics")).text
        return {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}

    async def until(self, check: Callable[[Samples], bool]) -> Samples:
        """Scrape until the check holds; return the values."""
        found: Samples = {}
        try:
            async with asyncio.timeout(20):
                while not (found and check(found)):
                    try:
                        found = await self.scrape()
                    except httpx.TransportError:
                        found = {}
                    await asyncio.sleep(0.05)
        except TimeoutError:
            seen = {name: value for name, value in found.items() if not name[0].endswith("_bucket")}
            raise AssertionError(seen) from None
        return found

    async def person(self, name: str) -> dict[str, str]:
        """Open an account; return the headers that sign its requests."""
        account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        assert (await self.http.post("/users/", json=account)).status_code == 201
        tokens = (await self.http.post("/token", data={"username": name, "password": PASSWORD})).json()
        return {"Authorization": f"Bearer {tokens['access_token']}"}


@asynccontextmanager
async def measured(
    server: str, database_url: str, redis_url: str, directory: Path, **settings: str
) -> AsyncIterator[Measured]:
    """A server that lets Prometheus look."""
    port = free_port()
    settings = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TOKEN_KEYS": TEST_KEYS,
        "PASSWORD_BCRYPT_COST": "4",
        "API_METRICS_PORT": str(port),
        "API_METRICS_DIR": str(directory / "metrics"),
        **settings,
    }
    async with (
        served(server, directory, **settings) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=30) as http,
    ):
        yield Measured(process, http, port, directory)


def requests(route: str, method: str, code: int) -> tuple[str, str]:
    """The counter of these."""
    return "todo_http_requests_total", f'code="{code}",method="{method}",route="{route}"'


def duration_count(route: str, method: str) -> tuple[str, str]:
    """Return the key of the histogram's count for a route and method."""
    return "todo_http_request_duration_seconds_count", f'method="{method}",route="{route}"'


async def test_requests_are_counted_by_template_method_and_status(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with measured("uvicorn", database_url, redis_url, tmp_path) as api:
        signed = await api.person("counted")
        todo = (await api.http.post("/todos/", json={"title": "Buy milk"}, headers=signed)).json()
        for _ in range(3):
            await api.http.get(f"/todos/{todo['id']}", headers=signed)
        await api.http.get(f"/todos/{todo['id']}")
        await api.http.get("/todos", headers=signed)
        await api.http.get("/todos/", headers=signed)
        await api.http.head("/todos/", headers=signed)
        found = await api.until(lambda found: found["todo_list_reads_total", 'source="process"'] == 2)
        assert found[requests("/users/", "POST", 201)] == 1
        assert found[requests("/token", "POST", 200)] == 1
        assert found[requests("/todos/", "POST", 201)] == 1
        assert found[requests("/todos/{todo_id}", "GET", 200)] == 3
        assert found[requests("/todos/{todo_id}", "GET", 401)] == 1
        assert found[requests("/todos/", "GET", 200)] == 3
        assert found[duration_count("/todos/{todo_id}", "GET")] == 4
        assert found["todo_list_reads_total", 'source="postgresql"'] == 1
        # Its own port is the only place.
        assert (await api.http.get("/metrics")).status_code == 404


async def test_what_clients_invent_makes_no_time_series(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with measured("uvicorn", database_url, redis_url, tmp_path) as api:
        for number, method in enumerate(STRANGE):
            assert (await api.http.get(f"/nowhere-{number}")).status_code == 404
            assert (await api.http.request(method, "/todos/")).status_code == 405
            assert (await api.http.request(method, "/nowhere")).status_code == 404
        found = await api.until(lambda found: found.get(requests("none", "other", 404)) == len(STRANGE))
        assert found[requests("none", "GET", 404)] == len(STRANGE)
        assert found[requests("/todos/", "other", 405)] == len(STRANGE)
        assert [labels for _, labels in found if re.search("nowhere|" + "|".join(STRANGE), labels)] == []


async def test_what_is_under_way_is_told_and_a_stream_counts_by_how_soon_it_began(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with measured("uvicorn", database_url, redis_url, tmp_path) as api:
        signed = await api.person("listening")
        async with api.http.stream("GET", "/notifications/stream", headers=signed) as stream:
            chunks = stream.aiter_bytes()  # without a reference the stream would end
            await anext(chunks)
            found = await api.until(lambda found: found["todo_streams_open", ""] == 1)
            assert found["todo_http_requests_under_way", ""] == 1
            await asyncio.sleep(1.1)  # it would count as slow if its whole life did
        found = await api.until(lambda found: found["todo_streams_open", ""] == 0)
        assert found["todo_http_requests_under_way", ""] == 0
        labels = 'le="1.0",method="GET",route="/notifications/stream"'
        assert found["todo_http_request_duration_seconds_bucket", labels] == 1


async def test_a_client_that_left_before_it_was_answered_counts_as_499(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with measured("uvicorn", database_url, redis_url, tmp_path) as api:
        _, writer = await asyncio.open_connection("127.0.0.1", api.http.base_url.port)
        writer.write(b"POST /todos/ HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        found = await api.until(lambda found: requests("none", "POST", 499) in found)
        assert found[duration_count("none", "POST")] == 0


@pytest.mark.timeout(120)
async def test_any_of_several_processes_serves_the_sum_and_another_takes_over_from_it(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    workers = {"GUNICORN_CMD_ARGS": "--workers 3", "API_METRICS_HOST": "127.0.0.1"}
    async with measured("gunicorn", database_url, redis_url, tmp_path, **workers) as api:

        async def ask(times: int) -> None:
            for _ in range(times):  # each on a connection of its own, so that all processes get their share
                async with httpx.AsyncClient(base_url=api.http.base_url) as http:
                    assert (await http.get("/livez")).status_code == 200

        def serving() -> int:
            children = psutil.Process(api.process.pid).children()
            ports = {
                child.pid: {
                    connection.laddr[1] for connection in child.net_connections() if connection.status == "LISTEN"
                }
                for child in children
            }
            return next(pid for pid, open_here in ports.items() if api.port in open_here)

        await ask(60)
        await api.until(lambda found: found.get(requests("/livez", "GET", 200)) == 60)
        counting = {int(path.stem.split("_")[1]) for path in (tmp_path / "metrics").glob("*/counter_*.db")}
        assert len(counting) == 3
        first = serving()
        psutil.Process(first).kill()
        await ask(10)
        found = await api.until(lambda found: found.get(requests("/livez", "GET", 200)) == 70)
        assert serving() != first
        assert found["todo_http_requests_under_way", ""] == 0


def test_without_a_port_nothing_is_imported_opened_or_written(tmp_path: Path) -> None:
    code = (
        "import sys, asyncio, threading\n"
        "from todo_api.main import create_app\n"
        "async def live(app):\n"
        "    async with app.router.lifespan_context(app):\n"
        "        assert threading.active_count() == 1\n"
        "asyncio.run(live(create_app()))\n"
        "assert 'prometheus_client' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(API_METRICS_DIR=str(tmp_path / "metrics")),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = subprocess.run(
        [sys.executable, "-m", "uvicorn", "todo_api.main:create_app", "--factory", "--port", str(free_port())],
        cwd=tmp_path,
        env=environment(API_METRICS_PORT=str(free_port()), API_METRICS_DIR=str(tmp_path / "file")),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 3
    assert result.stderr.startswith("API_METRICS_DIR: cannot use ")
    assert "Traceback" not in result.stderr
