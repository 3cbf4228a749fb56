"""ops/backup.sh, on a server of the tests': what a backup is, and the service that makes them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.backup_kit import OPS, Scripts, held_up, settle
from tests.conftest import MakeDatabase, in_thread, make_settings
from todo_core.migrations import runner


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
