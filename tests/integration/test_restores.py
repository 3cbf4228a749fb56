"""ops/restore.sh, on a server of the tests': what comes back, and what is refused."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.backup_kit import Scripts, rows, tables
from tests.conftest import MakeDatabase, in_thread, make_settings
from todo_core.migrations import runner


async def test_what_was_backed_up_comes_back_row_for_row(scripts: Scripts, empty_database: str) -> None:
    name = await scripts.back_up()
    ended = await scripts.run("restore.sh", url=empty_database)
    assert (ended.status, ended.errors) == (0, "")
    assert f"{name} is restored" in ended.output
    assert re.search(r"public\.todos +1000 rows", ended.output)
    assert await rows(empty_database) == await rows(scripts.url)
    await in_thread(runner.check, make_settings(empty_database))


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
