"""Backups of the running stack: made, restored, rehearsed, and refused when they are damaged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator

import pytest

from tests.factories import Person
from tests.stack.stack import ROOT, CommandFailed, Stack, run
from tests.stack.waiting import until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(240)]

FLIP_A_BIT = """
path=/backups/$1.dump
middle=$(($(stat --format=%s "$path") / 2))
byte=$(od --address-radix=n --format=u1 --skip-bytes="$middle" --read-bytes=1 "$path")
printf "%b" "\\\\x$(printf %02x $((byte ^ 1)))" | dd of="$path" bs=1 seek="$middle" conv=notrunc status=none
"""


@pytest.fixture(scope="module", autouse=True)
async def _no_backup_is_left(stack: Stack) -> AsyncIterator[None]:
    """Remove the volumes of the backup profile: the end of the stack removes only those of its own profiles."""
    yield
    await run("docker", "volume", "rm", "--force", f"{stack.project}_backups")


async def make(stack: Stack, *arguments: str) -> str:
    """Run a target of the Makefile and return its output."""
    return await run("make", "--silent", *arguments, env=stack.env, seconds=200)


async def back_up(stack: Stack) -> str:
    """Make a backup and return its name."""
    made = re.search(r"todo-\d{8}T\d{6}Z", await make(stack, "backup"))
    assert made
    return made[0]


async def damage(stack: Stack, name: str) -> None:
    """Change one bit of a backup, on its own disk."""
    command = ("run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", "bash", "backup", "-euc", FLIP_A_BIT, "x", name)
    await stack.compose(*command)


async def rows(stack: Stack) -> str:
    """Return the numbers of rows in the database, by table."""
    return await stack.sql(
        "SELECT (SELECT count(*) FROM accounts), count(*), sum(hashtextextended(t::text, 0)) FROM todos t"
    )


async def of_the_rehearsal(stack: Stack) -> list[str]:
    """Return the containers, volumes and networks of the stack that a rehearsal starts beside this one."""
    label = f"label=com.docker.compose.project={stack.project}-rehearsal"
    found = await run("docker", "ps", "--all", "--quiet", "--filter", label)
    for kind in ("volume", "network"):
        found += await run("docker", kind, "ls", "--quiet", "--filter", label)
    return found.split()


async def running(stack: Stack) -> set[tuple[str, str]]:
    """Return each permanent container with its start time."""
    services = ("db", "redis", "api", "worker", "beat", "nginx")
    found = [container for service in services for container in await stack.containers(service)]
    return {(container["Id"], container["State"]["StartedAt"]) for container in found}


async def test_a_rehearsal_restores_a_backup_compares_it_and_leaves_the_stack_alone(stack: Stack, lin: Person) -> None:
    for number in range(30):
        await lin.add_todo(f"一行 {number}", description="two\nlines\tand a tab")
    before, containers = await rows(stack), await running(stack)
    report = await make(stack, "rehearse-restore")
    todos = int(before.split("|")[1])
    assert todos >= 30
    assert re.search(rf"public\.todos +{todos} rows", report)
    assert "with one bit flipped: refused, and the database is empty" in report
    assert "one byte short: refused, and the database is empty" in report
    assert re.search(r"The database is at revision (\w+) \(newest: \1\)", report), "the restored revision is the code's"
    assert re.search(r"The rehearsal of todo-\d{8}T\d{6}Z has passed", report)
    assert await rows(stack) == before
    assert await running(stack) == containers
    assert await of_the_rehearsal(stack) == []


async def test_a_rehearsal_of_a_damaged_backup_fails_and_cleans_up(stack: Stack, lin: Person) -> None:
    await lin.add_todo("Buy milk")
    name = await back_up(stack)
    await damage(stack, name)
    with pytest.raises(CommandFailed, match="is refused"):
        await make(stack, "rehearse-restore", f"BACKUP={name}")
    assert await of_the_rehearsal(stack) == []


async def test_a_restore_brings_back_what_was_and_takes_away_what_came_since(stack: Stack, lin: Person) -> None:
    kept = await lin.add_todo("There when the backup was made")
    name = await back_up(stack)
    await lin.delete(f"/todos/{kept['id']}")
    later = await lin.add_todo("Came later")

    with pytest.raises(CommandFailed, match="is not empty"):
        await make(stack, "restore", f"BACKUP={name}")
    assert (await lin.get(f"/todos/{later['id']}")).status_code == 200, "without CONFIRM=yes nothing happens"

    assert "run again" in await make(stack, "restore", f"BACKUP={name}", "CONFIRM=yes")
    assert (await lin.get(f"/todos/{kept['id']}")).json()["title"] == "There when the backup was made"
    assert (await lin.get(f"/todos/{later['id']}")).status_code == 404
    assert [todo["id"] for todo in (await lin.list())["items"]] == [kept["id"]], "no list is cached from before"
    assert (await lin.add_todo("And it goes on"))["id"]


async def test_a_damaged_backup_is_refused_before_anything_is_stopped(stack: Stack, lin: Person) -> None:
    todo = await lin.add_todo("Stays")
    name = await back_up(stack)
    await damage(stack, name)
    containers = await running(stack)
    with pytest.raises(CommandFailed, match="is refused"):
        await make(stack, "restore", f"BACKUP={name}", "CONFIRM=yes")
    assert await running(stack) == containers
    assert (await lin.get(f"/todos/{todo['id']}")).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_restore_that_is_interrupted_changes_nothing_and_gives_the_product_back(
    stack: Stack, lin: Person, number: signal.Signals
) -> None:
    name = await back_up(stack)
    await lin.add_todo("Came since")
    before = await rows(stack)
    process = await asyncio.create_subprocess_exec(
        # Who was started by nohup ignores SIGHUP, and so do those whom it starts, whatever they would do about it.
        *("env", "--default-signal=HUP", "ops/backups.sh", "restore", name),
        cwd=ROOT,
        env=stack.env | {"CONFIRM": "yes"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(150):
        while b"Stopping API" not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line
        os.killpg(process.pid, number)
        said += await process.stdout.read()
        assert await process.wait() == 1, said
    assert b"Nothing was restored" in said
    await stack.healthy(60)
    assert await rows(stack) == before


async def test_the_service_makes_backups_by_itself_and_ends_at_once_when_told_to(stack: Stack) -> None:
    env = stack.env | {"COMPOSE_PROFILES": "mail,backup", "BACKUP_EVERY_SECONDS": "1"}

    async def compose(*arguments: str) -> str:
        return await run("docker", "compose", "--ansi", "never", *arguments, env=env)

    async def names() -> set[str]:
        return set(re.findall(r"todo-\d{8}T\d{6}Z", await make(stack, "backups")))

    before = await names()
    await compose("up", "--detach", "--no-build", "--no-deps", "--wait", "backup")
    try:
        container = (await compose("ps", "--quiet", "backup")).strip()

        async def two_more() -> bool:
            return len(await names() - before) >= 2

        await until(two_more, 60, "two backups that nobody asked for")
        began = time.monotonic()
        await compose("stop", "backup")
        assert time.monotonic() - began < 6, "SIGTERM ends it: Docker did not have to kill it"
        ended = json.loads(await run("docker", "inspect", container))[0]
        assert ended["State"]["ExitCode"] == 143
        assert (ended["Config"]["User"], ended["HostConfig"]["ReadonlyRootfs"]) == ("999:999", True)
    finally:
        await compose("rm", "--force", "--stop", "backup")
