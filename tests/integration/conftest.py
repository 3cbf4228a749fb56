"""Shared fixtures of the tests of the worker and of backups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.backup_kit import CONTENTS, Scripts
from tests.conftest import MakeDatabase, in_thread, make_settings
from tests.receivers import HttpReceiver, SmtpReceiver, http_receiver, smtp_receiver
from tests.worker_kit import Office, office_settings
from todo_core.migrations import runner


@pytest.fixture(scope="session")
async def worker_database(make_database: MakeDatabase) -> str:
    """A database where a worker finds nothing but what its test has put there."""
    url = await make_database()
    await in_thread(runner.upgrade, make_settings(url))
    return url


@pytest.fixture
async def http() -> AsyncIterator[HttpReceiver]:
    """Run the receiver of webhooks."""
    async with http_receiver() as receiver:
        yield receiver


@pytest.fixture
async def smtp() -> AsyncIterator[SmtpReceiver]:
    """Run the receiver of mails."""
    async with smtp_receiver() as receiver:
        yield receiver


@pytest.fixture
async def office(worker_database: str, redis_url: str, smtp: SmtpReceiver) -> AsyncIterator[Office]:
    """An empty database, and workers for it."""
    sql = await asyncpg.connect(worker_database)
    await sql.execute("TRUNCATE accounts CASCADE")
    office = Office(office_settings(worker_database, redis_url, smtp.port), sql)
    yield office
    await office.close()


@pytest.fixture(scope="session")
async def full_database(make_database: MakeDatabase) -> str:
    """A migrated database with people and todos in it, which backups are made of."""
    url = await make_database()
    await in_thread(runner.upgrade, make_settings(url))
    connection = await asyncpg.connect(url)
    await connection.execute(CONTENTS)
    await connection.close()
    return url


@pytest.fixture
def scripts(tmp_path: Path, full_database: str) -> Scripts:
    """backup.sh and restore.sh, with a folder of their own."""
    directory = tmp_path / "backups"
    directory.mkdir()
    return Scripts(directory, full_database)


@pytest.fixture
async def empty(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to `empty_database`."""
    connection = await asyncpg.connect(empty_database)
    yield connection
    await connection.close()
