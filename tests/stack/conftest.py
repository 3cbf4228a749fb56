"""The fixtures of the stack tests, which share one stack. Without a Docker engine they fail with a sentence."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.factories import Person
from tests.stack.stack import ROOT, CommandFailed, Stack, run

# Every request of every poll would stand in the report of a failure.
logging.getLogger("httpx").setLevel(logging.WARNING)
LOGS = ROOT / ".local" / "stack-logs"


@pytest.fixture(scope="session")
async def engine() -> None:
    """Check that there is a Docker engine with Compose."""
    try:
        await run("docker", "info", seconds=30)
        await run("docker", "compose", "version", seconds=30)
    except (CommandFailed, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        pytest.exit(f"The tests of the container stack need a Docker engine with Compose: {reason}", returncode=1)


@pytest.fixture(scope="session")
async def stack(
    engine: None,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _no_settings_from_outside: None,
) -> AsyncIterator[Stack]:
    """Start the stack, healthy and without data. The logs of failures are kept in .local/stack-logs."""
    running = Stack(f"todo-test-{os.getpid()}", tmp_path_factory.mktemp("stack") / "ca.pem")
    failed = True
    try:
        await running.up()
        before = request.session.testsfailed
        yield running
        failed = request.session.testsfailed > before
    finally:
        if failed:
            print(f"\nWhat the containers said: {await _keep_logs(running)}")
        await running.down()


async def _keep_logs(running: Stack) -> Path:
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{running.project}.log"
    path.write_text(await running.compose("logs", "--no-color", "--timestamps"), encoding="utf-8")
    return path


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that speaks to nginx over TLS and verifies its certificate."""
    async with stack.client() as client:
        yield client


@pytest.fixture
async def lin(stack: Stack, http: httpx.AsyncClient) -> Person:
    """Give a person with a new account."""
    return await stack.person(http)
