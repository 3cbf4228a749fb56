"""A restart of Gunicorn with its socket held open, as systemd does it, loses no request. No Docker here."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.deploy.host import ROOT

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})
        return
    await receive()
    await asyncio.sleep(0.003)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
CLIENTS = 16
RESTARTS = 4


def start(listener: socket.socket, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Gunicorn, on a socket that outlives it."""
    command = [sys.executable, "-m", "gunicorn", "app:app", "--no-control-socket", "--workers", "2", *arguments]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(listener.fileno()), *command],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=subprocess.STDOUT,
        )


async def ask_until(path: Path, over: asyncio.Event, outcomes: Counter[str]) -> None:
    """One request after the other, each on a connection of its own, as nginx makes them."""
    while not over.is_set():
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(REQUEST)
            outcomes["answered" if (await reader.read(12)) == b"HTTP/1.1 200" else "closed"] += 1
            writer.close()
            await writer.wait_closed()
        except OSError as error:
            outcomes[type(error).__name__] += 1


@pytest.mark.timeout(120)
async def test_a_restart_under_load_loses_no_request(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4096)
        arguments = ("--config", str(ROOT / "deploy" / "ecs" / "gunicorn_conf.py"))
        server = start(listener, tmp_path, *arguments)
        outcomes: Counter[str] = Counter()
        over = asyncio.Event()
        clients = [asyncio.create_task(ask_until(path, over, outcomes)) for _ in range(CLIENTS)]
        for _ in range(RESTARTS):
            before = outcomes["answered"]
            async with asyncio.timeout(20):
                while outcomes["answered"] < before + 500:  # noqa: ASYNC110 - it is a count that is waited for
                    await asyncio.sleep(0.05)
            server.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait, 20)
            server = start(listener, tmp_path, *arguments)
        await asyncio.sleep(0.5)
        over.set()
        await asyncio.gather(*clients)
        server.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait, 20)
    assert set(outcomes) == {"answered"}, outcomes
