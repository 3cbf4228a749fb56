"""ops/backup.sh and ops/restore.sh as they run in their container, on a server of the tests'."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from dev.postgres import EmbeddedPostgres
from tests.conftest import MakeDatabase, in_thread, make_settings
from todo_core.migrations import runner

OPS = Path(__file__).resolve().parents[2] / "ops"
CONTENTS = """
INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)
    SELECT gen_random_uuid(), 'user' || i, 'user' || i, i || '@example.com', i || '@example.com', 'x'
    FROM generate_series(1, 50) i;
INSERT INTO todos (id, owner_id, title, description, due_at, created_at, updated_at)
    SELECT gen_random_uuid(), id, 'A \\ tab' || chr(9) || ' 一行 ' || chr(10) || ' another', NULL,
           TIMESTAMPTZ '2026-12-01 09:00:00.123456+08', now(), now()
    FROM accounts, generate_series(1, 20);
"""


@dataclass
class Ended:
    """What a script said, and how it ended."""

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


Process = asyncio.subprocess.Process


@pytest.fixture(scope="module")
async def full_database(make_database: MakeDatabase) -> str:
    """A migrated database with people and todos in it."""
    url = await make_database()
    await in_thread(runner.upgrade, make_settings(url))
    connection = await asyncpg.connect(url)
    await connection.execute(CONTENTS)
    await connection.close()
    return url


@pytest.fixture
def scripts(tmp_path: Path, full_database: str) -> Scripts:
    directory = tmp_path / "backups"
    directory.mkdir()
    return Scripts(directory, full_database)


@pytest.fixture
async def empty(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database)
    yield connection
    await connection.close()


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


async def test_what_was_backed_up_comes_back_row_for_row(scripts: Scripts, empty_database: str) -> None:
    name = await scripts.back_up()
    ended = await scripts.run("restore.sh", url=empty_database)
    assert (ended.status, ended.errors) == (0, "")
    assert f"{name} is restored" in ended.output
    assert re.search(r"public\.todos +1000 rows", ended.output)
    assert await rows(empty_database) == await rows(scripts.url)
    await in_thread(runner.check, make_settings(empty_database))


async def test_a_backup_is_dump_manifest_and_checksums_and_nothing_else(scripts: Scripts) -> None:
    name = await scripts.back_up()
    assert scripts.files() == {f"{name}.dump", f"{name}.manifest", f"{name}.dump.sha256"}
    assert (scripts.directory / f"{name}.dump").stat().st_mode & 0o777 == 0o600
    manifest = (scripts.directory / f"{name}.manifest").read_text(encoding="utf-8")
    assert re.search(r"^public\.todos\t1000\t-?\d+$", manifest, re.MULTILINE)
    assert re.search(r"^public\.webhooks\t0\t0$", manifest, re.MULTILINE)


async def test_dump_and_manifest_are_of_one_moment_while_others_write(
    scripts: Scripts, make_database: MakeDatabase, empty_database: str
) -> None:
    url = await make_database()
    await in_thread(runner.upgrade, make_settings(url))
    connection = await asyncpg.connect(url)
    written, enough = 0, asyncio.Event()

    async def write() -> None:
        nonlocal written
        while not enough.is_set():
            name = f"user{written}"
            await connection.execute(
                "INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)"
                " VALUES ($1, $2, $2, $2, $2, 'x')",
                uuid4(),
                name,
            )
            written += 1

    writing = asyncio.create_task(write())
    scripts.url = url
    await scripts.back_up()
    enough.set()
    await writing
    count = await connection.fetchval("SELECT count(*) FROM accounts")
    await connection.close()
    ended = await scripts.run("restore.sh", url=empty_database)
    assert (ended.status, ended.errors) == (0, "")
    restored = re.search(r"public\.accounts +(\d+) rows", ended.output)
    assert restored
    assert 0 < int(restored[1]) < count, "nothing was written during the backup, so this proves nothing"


async def test_a_backup_waits_for_a_migration_in_progress_and_then_has_it_whole_or_not_at_all(
    scripts: Scripts,
) -> None:
    async with held_up(scripts, "backup.sh", migration="CREATE TABLE passing (id int)") as (process, migrator):
        await migrator.execute("COMMIT")
        await process.communicate()
        await migrator.execute("DROP TABLE passing")
    assert process.returncode == 0
    assert "passing" not in (scripts.directory / f"{scripts.names()[-1]}.manifest").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "unlisted", "without manifest", "foreign sums"])
async def test_a_damaged_backup_is_refused_before_the_database_is_touched(
    scripts: Scripts, empty: asyncpg.Connection, empty_database: str, damage: str
) -> None:
    name = await scripts.back_up()
    dump, sums = scripts.directory / f"{name}.dump", scripts.directory / f"{name}.dump.sha256"
    content = bytearray(dump.read_bytes())
    match damage:
        case "flipped":
            content[len(content) // 2] ^= 1
            dump.write_bytes(content)
        case "truncated":
            dump.write_bytes(content[:-1])
        case "unlisted":
            sums.unlink()
        case "without manifest":
            (scripts.directory / f"{name}.manifest").unlink()
        case _:
            sums.write_text(sums.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    # Nothing listens there: a script that asked the database first would complain of that.
    ended = await scripts.run("restore.sh", name, url=empty_database, PGHOST="/nowhere")
    assert ended.status == 1
    assert "is refused" in ended.errors
    assert ended.errors.count("\n") == 1
    ended = await scripts.run("restore.sh", name, url=empty_database)
    assert ended.status == 1
    assert await tables(empty) == 0


async def test_a_dump_that_ends_early_leaves_the_database_as_it_was_even_with_matching_checksums(
    scripts: Scripts, empty: asyncpg.Connection, empty_database: str
) -> None:
    name = await scripts.back_up()
    dump = scripts.directory / f"{name}.dump"
    content = dump.read_bytes()
    dump.write_bytes(content[: len(content) - 2_000])
    await scripts.sign(name)
    ended = await scripts.run("restore.sh", url=empty_database)
    assert ended.status == 1
    assert "the database is as it was" in ended.errors
    assert await tables(empty) == 0


async def test_rows_that_are_not_those_of_the_manifest_are_not_kept(
    scripts: Scripts, empty: asyncpg.Connection, empty_database: str
) -> None:
    name = await scripts.back_up()
    manifest = scripts.directory / f"{name}.manifest"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(re.sub(r"(public\.todos\t1000\t-?)(\d)", r"\g<1>1\2", text), encoding="utf-8")
    await scripts.sign(name)
    ended = await scripts.run("restore.sh", url=empty_database)
    assert ended.status == 1
    assert "what came back is not what was backed up: public.todos had 1000 rows and has others" in ended.errors
    assert await tables(empty) == 0


@pytest.mark.parametrize("option", [[], ["--check"]])
async def test_a_database_with_tables_is_not_restored_into(scripts: Scripts, option: list[str]) -> None:
    await scripts.back_up()
    before = await rows(scripts.url)
    ended = await scripts.run("restore.sh", *option)
    assert ended.status == 1
    assert "is not empty" in ended.errors
    assert await rows(scripts.url) == before


async def test_a_check_says_what_would_be_done_and_does_nothing(
    scripts: Scripts, empty: asyncpg.Connection, empty_database: str
) -> None:
    name = await scripts.back_up()
    ended = await scripts.run("restore.sh", "--check", url=empty_database)
    assert (ended.status, ended.errors) == (0, "")
    assert f"{name} is whole, and could be restored" in ended.output
    assert await tables(empty) == 0


async def test_what_is_there_is_replaced_only_by_who_says_so_twice(
    scripts: Scripts, empty: asyncpg.Connection, empty_database: str
) -> None:
    await scripts.back_up()
    await empty.execute("CREATE TABLE precious (id int); INSERT INTO precious VALUES (1)")
    ended = await scripts.run("restore.sh", "--replace", url=empty_database)
    assert (ended.status, await empty.fetchval("SELECT count(*) FROM precious")) == (1, 1)
    assert "CONFIRM=yes" in ended.errors
    ended = await scripts.run("restore.sh", "--replace", url=empty_database, CONFIRM="yes")
    assert (ended.status, ended.errors) == (0, "")
    assert await empty.fetchval("SELECT to_regclass('precious')") is None
    assert await rows(empty_database) == await rows(scripts.url)
    # And once more, on what it made itself.
    ended = await scripts.run("restore.sh", "--replace", url=empty_database, CONFIRM="yes")
    assert (ended.status, ended.errors) == (0, "")


async def test_a_replacement_that_fails_keeps_what_is_there(
    scripts: Scripts, empty: asyncpg.Connection, empty_database: str
) -> None:
    name = await scripts.back_up()
    manifest = scripts.directory / f"{name}.manifest"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("public.webhooks\t0", "public.webhooks\t1"))
    await scripts.sign(name)
    await empty.execute("CREATE TABLE precious (id int); INSERT INTO precious VALUES (1)")
    ended = await scripts.run("restore.sh", "--replace", url=empty_database, CONFIRM="yes")
    assert ended.status == 1
    assert await empty.fetchval("SELECT count(*) FROM precious") == 1


async def test_the_owner_of_a_database_who_is_no_superuser_can_restore_and_replace(
    scripts: Scripts, make_database: MakeDatabase
) -> None:
    url = await make_database()
    database, role = urlsplit(url).path[1:], f"owner_{os.getpid()}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; ALTER DATABASE {database} OWNER TO {role}")
    try:
        await scripts.back_up()
        for arguments in ([], ["--replace"], ["--replace"]):
            ended = await scripts.run("restore.sh", *arguments, url=url, PGUSER=role, PGPASSWORD="x", CONFIRM="yes")
            assert (ended.status, ended.errors) == (0, "")
        assert (await scripts.run("backup.sh", url=url, PGUSER=role, PGPASSWORD="x")).status == 0
    finally:
        await connection.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")
        await connection.close()


async def test_a_backup_that_took_longer_than_it_is_kept_stays_as_the_only_good_one(scripts: Scripts) -> None:
    async with held_up(scripts, "backup.sh", BACKUP_KEEP_DAYS="0") as (process, blocker):
        waited = "SELECT clock_timestamp() - query_start > interval '2 s' FROM pg_stat_activity"
        waited += " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        async with asyncio.timeout(20):
            while not await blocker.fetchval(waited):
                assert process.returncode is None
    await process.communicate()
    assert (process.returncode, len(scripts.names())) == (0, 1)


async def test_old_backups_go_after_a_good_one_and_never_after_a_failure(scripts: Scripts) -> None:
    name = await scripts.back_up()
    ancient, old, young = (scripts.copy(name, days) for days in (400, 15, 13))
    assert (await scripts.run("backup.sh", PGHOST="/nowhere")).status == 1
    assert set(scripts.names()) == {ancient, old, young, name}, "a backup that fails removes none"
    newer = await scripts.back_up()
    assert set(scripts.names()) == {young, name, newer}
    newest = await scripts.back_up(BACKUP_KEEP_DAYS="0")
    assert scripts.files() == {f"{newest}.dump", f"{newest}.manifest", f"{newest}.dump.sha256"}


async def test_what_a_crashed_run_left_is_swept_away_and_never_looks_like_a_backup(scripts: Scripts) -> None:
    crashed = "todo-20200101T000000Z"
    for leftover in (f".{crashed}.dump.partial", f"{crashed}.manifest", f"{crashed}.dump.sha256"):
        (scripts.directory / leftover).touch()
    assert "There is no backup" in (await scripts.run("backup.sh", "list")).output
    assert (await scripts.run("restore.sh", crashed)).status == 1
    name = await scripts.back_up()
    assert scripts.files() == {f"{name}.dump", f"{name}.manifest", f"{name}.dump.sha256"}


async def test_a_backup_that_fails_leaves_nothing_and_says_why_in_one_line(scripts: Scripts) -> None:
    ended = await scripts.run("backup.sh", PGDATABASE="no_such_database")
    assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)
    assert 'database "no_such_database" does not exist' in ended.errors
    assert scripts.files() == set()


async def test_sigterm_ends_a_backup_at_once_and_nothing_is_left_of_it(scripts: Scripts) -> None:
    async with held_up(scripts, "backup.sh", BACKUP_EVERY_SECONDS="3600") as (process, _):
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            await process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert scripts.files() == set()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "db|-|todo|from the file|todo|-|-"),
        ({"PGPASSWORD": "from outside"}, "db|-|todo|from outside|todo|-|-"),
        ({"PGPASSWORD": "", "PGSSLMODE": "", "PGHOST": ""}, "db|-|todo|from the file|todo|-|-"),
        ({"DATABASE_URL": "postgresql://todo:inside@db:5432/todo"}, "db|5432|todo|from the file|todo|-|-"),
        ({"DATABASE_URL": "postgres://l%40n@[::1]/a%20b", "PGDATABASE": "c"}, "::1|-|l@n|from the file|c|-|-"),
        (
            {"DATABASE_URL": "postgresql+asyncpg://u@rds.example/d?sslmode=verify-full&sslrootcert=/run/secrets/ca"},
            "rds.example|-|u|from the file|d|verify-full|/run/secrets/ca",
        ),
        ({"DATABASE_URL": "postgresql://u:p%2Fw@/d?host=/run/p", "SECRETS": "/none"}, "/run/p|-|u|p/w|d|-|-"),
    ],
)
async def test_the_database_comes_from_a_url_from_libpqs_variables_and_its_password_from_a_secret_file(
    scripts: Scripts, given: dict[str, str], found: str
) -> None:
    secrets = scripts.directory.with_name("secrets")
    secrets.mkdir()
    (secrets / "database_password").write_text("from the file\n", encoding="utf-8")
    names = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT")
    show = "|".join(f"${{{name}-{'-'}}}" for name in names)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        f'. {OPS}/backup-common.sh; database_settings; printf %s "{show}"',
        env={"PATH": "/usr/bin:/bin", "SECRETS": str(secrets), **given},
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await process.communicate())[0].decode() == found


@pytest.mark.parametrize("url", ["mysql://todo@db/todo", "postgresql://todo@db/todo?target_session_attrs=any"])
async def test_a_url_that_is_not_understood_gets_a_sentence(scripts: Scripts, url: str) -> None:
    ended = await scripts.run("backup.sh", DATABASE_URL=url)
    assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)
    assert ended.errors.startswith("backup.sh: DATABASE_URL ")


async def test_an_upload_gets_each_file_the_dump_last(scripts: Scripts) -> None:
    elsewhere = scripts.directory.with_name("elsewhere")
    elsewhere.mkdir()
    command = f'cp "$1" {elsewhere} && echo "${{1##*/}}" >>{elsewhere}/order'
    name = await scripts.back_up(BACKUP_UPLOAD_COMMAND=command)
    order = (elsewhere / "order").read_text(encoding="utf-8").split()
    assert order == [f"{name}.manifest", f"{name}.dump.sha256", f"{name}.dump"]
    assert (elsewhere / f"{name}.dump").read_bytes() == (scripts.directory / f"{name}.dump").read_bytes()


async def test_an_upload_that_fails_is_told_keeps_the_file_and_is_made_up_for(scripts: Scripts) -> None:
    ended = await scripts.run("backup.sh", BACKUP_UPLOAD_COMMAND="echo no such bucket >&2; false")
    assert ended.status == 1
    assert "the local file is kept: no such bucket" in ended.errors
    (first,) = scripts.names()
    assert "not uploaded yet" in (await scripts.run("backup.sh", "list")).output
    log = scripts.directory.with_name("log")
    second = await scripts.back_up(BACKUP_UPLOAD_COMMAND=f'echo "${{1##*/}}" >>{log}')
    assert log.read_text(encoding="utf-8").split()[2::3] == [f"{first}.dump", f"{second}.dump"]


async def settle(condition: Callable[[], bool], process: Process) -> None:
    """Wait until the condition holds, and no longer than the service lives."""
    async with asyncio.timeout(30):
        while not condition():
            assert process.returncode is None
            await asyncio.sleep(0.02)


async def test_the_service_backs_up_again_and_again(scripts: Scripts) -> None:
    process = await scripts.start("backup.sh", BACKUP_EVERY_SECONDS="1", BACKUP_HEARTBEAT_SECONDS="1")
    await settle(lambda: len(scripts.names()) >= 3, process)
    assert (await scripts.run("backup.sh", "check")).status == 0
    process.terminate()
    async with asyncio.timeout(5):
        await process.communicate()


async def test_the_service_that_is_started_anew_makes_no_backup_for_that_alone(scripts: Scripts) -> None:
    name = await scripts.back_up()
    process = await scripts.start("backup.sh", BACKUP_EVERY_SECONDS="3600")
    alive = Path(scripts.environment()["BACKUP_ALIVE_FILE"])
    await settle(alive.exists, process)
    process.terminate()
    output, errors = await process.communicate()
    assert (output, errors, scripts.names()) == (b"", b"", [name])


async def test_the_service_says_that_a_backup_failed_is_unhealthy_tries_again_and_recovers(
    scripts: Scripts, postgres_url: str
) -> None:
    database = f"comes_later_{os.getpid()}"
    process = await scripts.start(
        "backup.sh",
        BACKUP_EVERY_SECONDS="3600",
        BACKUP_RETRY_SECONDS="1",
        BACKUP_HEARTBEAT_SECONDS="1",
        PGDATABASE=database,
    )
    assert process.stderr
    alive = Path(scripts.environment()["BACKUP_ALIVE_FILE"])
    async with asyncio.timeout(30):
        said = [(await process.stderr.readline()).decode() for _ in range(4)]
    assert f'database "{database}" does not exist' in said[0]
    assert said[1:2] == ["backup.sh: trying again in 1 seconds.\n"]
    os.utime(alive, (0, 0))  # two minutes later
    assert (await scripts.run("backup.sh", "check")).status == 1
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {database}")
    await settle(lambda: len(scripts.names()) == 1 and alive.stat().st_mtime > 0, process)
    assert (await scripts.run("backup.sh", "check")).status == 0
    process.terminate()
    await process.communicate()
    await server.execute(f"DROP DATABASE {database} WITH (FORCE)")
    await server.close()


async def test_the_service_makes_up_for_a_failed_upload_without_another_backup(scripts: Scripts) -> None:
    bucket = scripts.directory.with_name("bucket")
    process = await scripts.start(
        "backup.sh",
        BACKUP_EVERY_SECONDS="3600",
        BACKUP_RETRY_SECONDS="1",
        BACKUP_HEARTBEAT_SECONDS="1",
        BACKUP_UPLOAD_COMMAND=f'cp "$1" {bucket}/',
    )
    assert process.stderr
    async with asyncio.timeout(30):
        assert b"the upload of" in await process.stderr.readline()
    (name,) = scripts.names()
    bucket.mkdir()
    await settle((bucket / f"{name}.dump").exists, process)
    process.terminate()
    await process.communicate()
    assert scripts.names() == [name]


@pytest.mark.parametrize("name", ["BACKUP_KEEP_DAYS", "BACKUP_EVERY_SECONDS", "BACKUP_RETRY_SECONDS"])
async def test_a_setting_that_is_no_number_gets_a_sentence(scripts: Scripts, name: str) -> None:
    ended = await scripts.run("backup.sh", **{name: "daily"})
    assert (ended.status, ended.errors) == (1, f"backup.sh: {name} must be a whole number, not 'daily'.\n")
