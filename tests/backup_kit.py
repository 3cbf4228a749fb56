"""ops/backup.sh and ops/restore.sh as their container runs them: what their tests share."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from dev.postgres import EmbeddedPostgres

OPS = Path(__file__).resolve().parents[1] / "ops"
CONTENTS = """
INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)
    SELECT gen_random_uuid(), 'user' || i, 'user' || i, i || '@example.com', i || '@example.com', 'x'
    FROM generate_series(1, 50) i;
INSERT INTO todos (id, owner_id, title, description, due_at, created_at, updated_at)
    SELECT gen_random_uuid(), id, 'A \\ tab' || chr(9) || ' 一行 ' || chr(10) || ' another', NULL,
           TIMESTAMPTZ '2026-12-01 09:00:00.123456+08', now(), now()
    FROM accounts, generate_series(1, 20);
"""

Process = asyncio.subprocess.Process


@dataclass
class Ended:
    """The output and exit status of a script."""

    status: int | None
    output: str
    errors: str


@dataclass
class Scripts:
    """The scripts, with the environment that their container gives them."""

    directory: Path
    url: str
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self, url: str | None = None, **settings: str) -> dict[str, str]:
        address = urlsplit(url or self.url)
        host = parse_qs(address.query).get("host", [address.hostname or ""])[0]
        return {
            "PATH": f"{EmbeddedPostgres(self.directory).binaries}:/usr/bin:/bin",
            "BACKUP_DIR": str(self.directory),
            "BACKUP_ALIVE_FILE": str(self.directory.with_name("alive")),
            "PGHOST": host,
            "PGPORT": str(address.port or ""),
            "PGUSER": address.username or "",
            "PGPASSWORD": address.password or "",
            "PGDATABASE": address.path[1:],
            **self.settings,
            **settings,
        }

    async def start(self, script: str, *arguments: str, url: str | None = None, **settings: str) -> Process:
        return await asyncio.create_subprocess_exec(
            str(OPS / script),
            *arguments,
            env=self.environment(url, **settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, script: str, *arguments: str, url: str | None = None, **settings: str) -> Ended:
        process = await self.start(script, *arguments, url=url, **settings)
        output, errors = await process.communicate()
        return Ended(process.returncode, output.decode(), errors.decode())

    async def back_up(self, **settings: str) -> str:
        """Make a backup and return its name."""
        ended = await self.run("backup.sh", **settings)
        assert (ended.status, ended.errors) == (0, "")
        return self.names()[-1]

    def names(self) -> list[str]:
        """The backups there are, the oldest first."""
        return sorted(path.stem for path in self.directory.glob("todo-*.dump"))

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()} - {".lock"}

    def copy(self, name: str, days_ago: int) -> str:
        """A backup as it would have been made so many days ago."""
        older = f"todo-{datetime.now(UTC) - timedelta(days=days_ago):%Y%m%dT%H%M%SZ}"
        for suffix in ("dump", "manifest"):
            shutil.copy(self.directory / f"{name}.{suffix}", self.directory / f"{older}.{suffix}")
        sums = (self.directory / f"{name}.dump.sha256").read_text(encoding="utf-8")
        (self.directory / f"{older}.dump.sha256").write_text(sums.replace(name, older), encoding="utf-8")
        return older

    async def sign(self, name: str) -> None:
        """Write the checksums anew, as if the files had always been what they are now."""
        process = await asyncio.create_subprocess_shell(
            f"sha256sum {name}.dump {name}.manifest >{name}.dump.sha256", cwd=self.directory
        )
        assert await process.wait() == 0


@asynccontextmanager
async def held_up(
    scripts: Scripts, script: str, *, migration: str = "SELECT 1", **settings: str
) -> AsyncIterator[tuple[Process, asyncpg.Connection]]:
    """Start a script while a migration has a table to itself, and give it when it waits for that; then roll back."""
    blocker = await asyncpg.connect(scripts.url)
    try:
        await blocker.execute("BEGIN; LOCK TABLE webhooks IN ACCESS EXCLUSIVE MODE;" + migration)
        process = await scripts.start(script, **settings)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'webhooks'::regclass"
        async with asyncio.timeout(20):
            while not await blocker.fetchval(waiting):
                assert process.returncode is None
        yield process, blocker
    finally:
        await blocker.close()


async def tables(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    return count


async def rows(url: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    found = await connection.fetch("SELECT t.* FROM todos t ORDER BY id")
    await connection.close()
    return [tuple(row) for row in found]


async def settle(condition: Callable[[], bool], process: Process) -> None:
    """Wait until the condition holds, and no longer than the service lives."""
    async with asyncio.timeout(30):
        while not condition():
            assert process.returncode is None
            await asyncio.sleep(0.02)
