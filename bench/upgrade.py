"""`python -m bench.upgrade [--quick]`: from the schema before reminders to the newest, with a million todos in use.

The old release reads and writes all the while, as it would during a deployment that replaces one process after the
other. What it wrote behind the migration's back is counted, and mended by `todo-admin reminders mend`.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import asyncpg
import uvloop

from bench import report
from bench.engine import BIN, EngineError, Servers
from bench.old_release import READS_PER_SECOND, WRITES_PER_SECOND, OldRelease, Waits
from dev.processes import exit_on_sigterm
from dev.servers import ServerError

BEFORE = "0002"
ACCOUNTS = 1_000
BOUND_SECONDS = 1.0
"""Well below the 2 s (DATABASE_LOCK_TIMEOUT_MS) at which the release would answer 503."""
MARGIN_SECONDS = 3.0
"""The old release works so long before and after the migration."""
LIBRARIES = ("alembic", "sqlalchemy", "asyncpg")

_ACCOUNTS = """
INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)
SELECT uuidv7(), name, name, name || '@example.com', name || '@example.com', 'x'
FROM generate_series(1, $1) i, LATERAL (SELECT 'bench' || i AS name) n
"""
# A third each is due ahead, was due, and has no due time; one in ten is completed.
_TODOS = """
WITH owner AS (SELECT array_agg(id) AS ids FROM accounts)
INSERT INTO todos (id, owner_id, title, description, due_at, completed_at, created_at, updated_at)
SELECT uuidv7(made - now()), ids[1 + i % cardinality(ids)], 'Call about the contract ' || i,
       CASE WHEN i % 2 = 0 THEN 'Before the weekend, together with Li Wei.' END,
       CASE i % 3 WHEN 0 THEN now() + interval '1 day' + i * interval '1 second'
                  WHEN 1 THEN made + interval '1 day' END,
       CASE WHEN i % 10 = 0 THEN made + interval '1 hour' END, made, made
FROM owner, generate_series(1, $1) i, LATERAL (SELECT now() - ($1 + 172800 - i) * interval '1 second' AS made) m
"""
_COUNTS = """
SELECT (SELECT count(*) FROM reminders) AS reminders,
       count(*) FILTER (WHERE wanted AND plans = 1 AND fitting = 1) AS one,
       count(*) FILTER (WHERE wanted AND plans = 0) AS missing,
       count(*) FILTER (WHERE wanted AND plans > 1) AS several,
       count(*) FILTER (WHERE wanted AND plans = 1 AND fitting = 0) AS misplaced,
       count(*) FILTER (WHERE NOT wanted AND scheduled > 0) AS unwanted,
       count(*) FILTER (WHERE wanted AND updated_at < $1 AND (plans <> 1 OR fitting <> 1)) AS untouched_wrong
FROM (
    SELECT t.updated_at, NOT t.completed AND t.due_at IS NOT NULL AND t.due_at > $2 AS wanted,
           count(r.id) AS plans, count(r.id) FILTER (WHERE r.state = 'scheduled') AS scheduled,
           count(r.id) FILTER (WHERE r.state = 'scheduled' AND r.remind_at = t.due_at) AS fitting
    FROM todos t LEFT JOIN reminders r ON r.todo_id = t.id
    GROUP BY t.id
) each
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Open todos that are due ahead, by what they have."""

    reminders: int
    one: int
    """Exactly one, at the due time: as it should be."""
    missing: int
    several: int
    misplaced: int
    unwanted: int
    """Todos that are completed or not due ahead, and have one all the same."""
    untouched_wrong: int
    """Of those that the old release left alone, any that has not exactly one."""

    @property
    def right(self) -> bool:
        """Whether all is as it should be."""
        return self.missing == self.several == self.misplaced == self.unwanted == 0


async def _fill(servers: Servers, todos: int) -> str:
    """A database of the release before, its indices built and its tables vacuumed; its address."""
    address = servers.database("upgrade", "0001")
    connection = await asyncpg.connect(address)
    try:
        await connection.execute(_ACCOUNTS.replace("$1", str(ACCOUNTS)))
        await connection.execute("SET session_replication_role = replica")  # each owner is there: no need to look it up
        await connection.execute(_TODOS.replace("$1", str(todos)))
        servers.migrate(address, BEFORE)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return address


async def _mend(servers: Servers, address: str) -> tuple[str, float]:
    """What `todo-admin reminders mend` says, and how long it takes."""
    began = time.monotonic()
    done = await asyncio.to_thread(
        subprocess.run,
        [str(BIN / "todo-admin"), "reminders", "mend"],
        env=servers.environment(address),
        cwd=servers.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EngineError(f"todo-admin reminders mend failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip(), time.monotonic() - began


def _print_waits(waits: dict[str, Waits], began: float, ended: float) -> None:
    head = ("the old release's", "during", "before", "failed", "p50 ms", "longest ms", "at s", "longest before ms")
    rows = []
    for name, each in waits.items():
        longest, asked = each.longest(began, ended)
        during = sorted(took for took, at in zip(each.seconds, each.asked, strict=True) if began <= at <= ended)
        rows.append(
            (
                name,
                f"{len(during):,}",
                f"{each.count(0, began):,}",
                str(len(each.failures)),
                f"{during[len(during) // 2] * 1e3:.1f}" if during else "",
                f"{longest * 1e3:.0f}",
                f"{asked - began:.2f}" if asked else "",
                f"{each.longest(0, began)[0] * 1e3:.0f}",
            )
        )
    print(report.table([head, *rows]))


async def _measure(servers: Servers, address: str) -> tuple[dict[str, object], list[str]]:
    """Upgrade while the old release is at work; what was found, and what of it must not be."""
    sql = await asyncpg.connect(address)
    start = await sql.fetchval("SELECT clock_timestamp()")
    old = OldRelease(address)
    await old.start()
    await asyncio.sleep(MARGIN_SECONDS)
    began = time.monotonic()
    await asyncio.to_thread(servers.migrate, address)
    ended = time.monotonic()
    await asyncio.sleep(MARGIN_SECONDS)
    await old.stop()
    print(f"Migration: {ended - began:.1f} s, the start of its process included")
    _print_waits(old.waits, began, ended)
    for name, waits in old.waits.items():
        for failure in sorted(set(waits.failures)):
            print(f"  {name} failed: {failure}")
    after = await _count(sql, start)
    print(f"Reminders planned: {after.reminders:,}. {_sentence(after)}")
    said, seconds = await _mend(servers, address)
    mended = await _count(sql, start)
    await sql.close()
    print(f"`todo-admin reminders mend` ({seconds:.1f} s): {said} Then: {_sentence(mended)}")
    problems = [f"{name}: {len(waits.failures)} failed" for name, waits in old.waits.items() if waits.failures]
    problems += [
        f"{name}: waited {waits.longest()[0]:.2f} s, bound {BOUND_SECONDS} s"
        for name, waits in old.waits.items()
        if waits.longest()[0] >= BOUND_SECONDS
    ]
    if after.untouched_wrong:
        problems.append(f"{after.untouched_wrong} todos that nobody wrote meanwhile have not exactly one reminder")
    if not mended.right:
        problems.append(f"after `todo-admin reminders mend`: {_sentence(mended)}")
    figures = {
        "migration_seconds": ended - began,
        "longest_seconds": {name: waits.longest(began, ended)[0] for name, waits in old.waits.items()},
        "probes": {name: waits.count(began, ended) for name, waits in old.waits.items()},
        "failures": {name: waits.failures for name, waits in old.waits.items()},
        "counts": after,
        "counts_mended": mended,
        "mend_seconds": seconds,
    }
    return figures, problems


async def _count(sql: asyncpg.Connection, start: object) -> Counts:
    return Counts(**await sql.fetchrow(_COUNTS, start, start))


def _sentence(counts: Counts) -> str:
    return (
        f"Open todos that are due ahead: {counts.one:,} have exactly one, {counts.missing} none, {counts.several} more,"
        f" {counts.misplaced} at another time; others that have one: {counts.unwanted}."
    )


async def _run(*, quick: bool) -> list[str]:
    todos = 100_000 if quick else 1_000_000
    with Servers() as servers:
        facts = report.machine(await servers.version(), LIBRARIES)
        print(report.machine_lines(facts, LIBRARIES))
        print(f"\nWriting {todos:,} todos of {ACCOUNTS:,} accounts at revision {BEFORE} ...", flush=True)
        address = await _fill(servers, todos)
        print(f"Upgrading, load {os.getloadavg()[0]:.1f}; {READS_PER_SECOND} reads and {WRITES_PER_SECOND} writes/s")
        figures, problems = await _measure(servers, address)
    report.save(facts, {"upgrade": figures}, "upgrade")
    return problems


def main() -> int:
    """Run it; 0 if every bound is kept, 1 if one is broken, 2 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.upgrade", description="Measures an upgrade in use.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the todos")
    arguments = parser.parse_args()
    exit_on_sigterm()
    try:
        problems = uvloop.run(_run(quick=arguments.quick))
    except (EngineError, ServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(
        f"\nNothing failed, and nobody waited {BOUND_SECONDS:g} s." if not problems else "\nBROKEN:",
        *problems,
        sep="\n  ",
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
