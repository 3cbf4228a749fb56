"""Real processes: they serve, they stop without dropping a request, and they refuse to start wrongly."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from dev.processes import free_port
from tests.conftest import TEST_KEYS

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "todo_api.main:create_app", "--factory", "--no-access-log", "--port", "{port}",
                "--http", "todo_api.protocol:BoundedHttp", "--no-server-header"],
    "gunicorn": ["-m", "gunicorn", "todo_api.main:create_app()", "-k", "uvicorn_worker.UvicornWorker",
                 "--bind", "127.0.0.1:{port}", "--graceful-timeout", "20", "--no-control-socket"],
}  # fmt: skip


def environment(**settings: str) -> dict[str, str]:
    """What a process needs of ours, and its settings."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **kept, **settings}


@asynccontextmanager
async def served(server: str, directory: Path, **settings: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], str]]:
    """A server process that is ready, and its address; ended if the test leaves it running."""
    port = free_port()
    arguments = [argument.format(port=port) for argument in SERVERS[server]]
    with (directory / "log").open("wb") as log:
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, *arguments],
            cwd=directory,
            env=environment(**settings),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=address) as http, asyncio.timeout(30):
            while not await is_ready(http):
                assert process.poll() is None, (directory / "log").read_text(encoding="utf-8")
        yield process, address
    finally:
        await asyncio.to_thread(end, process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, so that what it has measured of itself is kept; after five seconds, make it."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Whether the server serves."""
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_is_asked_to_stop_finishes_what_it_has_in_hand(
    server: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = {
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TOKEN_KEYS": TEST_KEYS,
        "PASSWORD_BCRYPT_COST": "12",
    }
    async with (
        served(server, tmp_path, **settings) as (process, address),
        httpx.AsyncClient(base_url=address, timeout=30) as http,
    ):
        account = {"username": f"{server}-lin", "email": f"{server}@example.com", "password": "correct horse"}
        registering = asyncio.create_task(http.post("/users/", json=account))
        async with httpx.AsyncClient(base_url=address) as other:
            # One after the other on one loop: when this is answered, the registration is at its password.
            await other.get("/livez")
            await other.get("/livez")
        assert not registering.done()
        process.send_signal(signal.SIGTERM)
        assert (await registering).status_code == 201
        # uvicorn ends by the signal itself, once all is done; Gunicorn's master ends by itself.
        assert await asyncio.to_thread(process.wait, 20) == (-signal.SIGTERM if server == "uvicorn" else 0)
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert "correct horse" not in log


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "TOKEN_KEYS: this is the development key"),
        ({"TOKEN_KEYS": "a:short"}, "TOKEN_KEYS: the secret of key 'a' is shorter than 32 bytes"),
        ({"TOKEN_KEYS": TEST_KEYS}, "DATABASE_URL: this is the development password"),
        ({"TOKEN_KEYS": TEST_KEYS, "DATABASE_POOL_SIZE": "many"}, "DATABASE_POOL_SIZE"),
    ],
)
def test_production_refuses_to_start_on_what_is_meant_for_development(
    server: str, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, *(argument.format(port=free_port()) for argument in SERVERS[server])],
        cwd=tmp_path,
        env=environment(ENVIRONMENT="production", **settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert said in output
    assert "short" not in output.replace("shorter", "")
    assert "Traceback" not in output


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    code = "import todo_api.main, todo_core.models, asyncio, threading; assert threading.active_count() == 1"
    result = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        cwd=tmp_path,
        env=environment(DATABASE_URL="nonsense", TOKEN_KEYS="nonsense", ENVIRONMENT="nonsense"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
