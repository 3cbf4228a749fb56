"""`python -m bench.reminders [--quick]`: throughput and punctuality of the reminder engine.

The engine is the real one: a `celery worker` process and beat, as they are deployed, on a PostgreSQL with fsync.
"""

import argparse
import asyncio
import sys
from datetime import timedelta
from statistics import median

import uvloop

from bench import report
from bench.engine import EngineError, Servers
from bench.punctuality import hanging, same_second
from bench.reminder_rows import Rows
from bench.sampling import Floor, Ratio
from dev.processes import exit_on_sigterm
from dev.servers import ServerError
from todo_core.reminders.dispatch import _CLAIM
from todo_core.settings import WorkerSettings

ACCOUNTS = 500
LIBRARIES = ("celery", "redis", "aiohttp", "asyncpg", "uvloop", "orjson")

_CLAIM_ALONE = """
WITH due AS (
    SELECT id FROM reminders WHERE state = 'scheduled' AND remind_at <= now()
    ORDER BY remind_at LIMIT $1 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE reminders r SET state = 'claimed', claimed_at = now() FROM due WHERE r.id = due.id RETURNING r.id
)
SELECT count(*) AS reminders FROM claimed
"""
RATIO_BOUND = 0.5


async def throughput(servers: Servers, *, quick: bool) -> tuple[dict[str, object], Floor]:
    """The engine with one worker process beside the bare loop in one process, a round each, every other backwards.

    Each has a database of its own in one cluster, so that the engine, idle in the loop's rounds, takes none of its.
    """
    count, rounds, lead = (1_000, 2, 1.0) if quick else (5_000, 7, 4.0)
    print(f"\nClaimed, sent and settled: {count:,} webhooks a round for {ACCOUNTS} receivers, one process each")
    addresses = {name: servers.database(name) for name in ("engine", "bare")}
    rows = {name: await Rows.of(address) for name, address in addresses.items()}
    accounts = {name: await rows[name].accounts(ACCOUNTS, servers.receiver, ("webhook",)) for name in rows}
    rates: dict[str, list[float]] = {name: [] for name in rows}
    with servers.worker(addresses["engine"], 1):
        for number in range(-1, rounds):  # the first, in which connections are opened, does not count
            for name in ("engine", "bare") if number % 2 == 0 else ("bare", "engine"):
                before = servers.received()
                due = await rows[name].now() + timedelta(seconds=lead)  # for ANALYZE and a checkpoint
                batch = await rows[name].remind(accounts[name], count, due)
                await rows[name].calm(due)
                await rows[name].wait_until(due)
                if name == "bare":
                    await asyncio.to_thread(servers.run_bare_loop, addresses[name])
                await rows[name].drained(due)
                sent = await rows[name].sent(batch)
                if servers.received() - before != count:
                    raise EngineError(f"{name}: {servers.received() - before} requests for {count} deliveries")
                if number >= 0:
                    rates[name].append(sent.per_second)
    for each in rows.values():
        await each.close()
    ratio = Floor.of("engine / bare loop", rates["engine"], rates["bare"], RATIO_BOUND)
    for name, taken in rates.items():
        print(f"  {name:8}{median(taken):7,.0f} a second ({min(taken):,.0f}-{max(taken):,.0f})")
    print(ratio)
    return {"per_second": rates, "ratio": ratio.values}, ratio


async def claims(servers: Servers, *, quick: bool) -> dict[str, object]:
    """For context: how fast the claim statements are by themselves."""
    count = 10_000 if quick else 50_000
    address = servers.database("claims")
    rows = await Rows.of(address)
    accounts = await rows.accounts(ACCOUNTS, servers.receiver, ("webhook",))
    batch = WorkerSettings().claim_batch
    found = {}
    for name, statement in (
        ("claim with its deliveries (the engine's statement)", _CLAIM.format(direction="ASC")),
        ("claim alone (no deliveries made)", _CLAIM_ALONE),
    ):
        await rows.remind(accounts, count, await rows.now() - timedelta(seconds=1))
        await rows.calm(await rows.now() + timedelta(minutes=1))
        found[name] = await rows.claim_rate(statement, batch)
    await rows.close()
    print(f"\nFor context, one connection, batches of {batch}, {count:,} rows:")
    for name, rate in found.items():
        print(f"  {name}: {rate:,.0f} rows/s")
    return dict(found)


async def _run(*, quick: bool) -> list[Ratio]:
    with Servers() as servers:
        servers.start_receiver()
        facts = report.machine(await servers.version(), LIBRARIES)
        print(report.machine_lines(facts, LIBRARIES))
        sections: dict[str, dict[str, object]] = {}
        sections["throughput"], ratio = await throughput(servers, quick=quick)
        address = servers.database("punctuality")
        with servers.worker(address, 2):
            rows = await Rows.of(address)
            sections["same_second"], inbox = await same_second(servers, rows, quick=quick)
            sections["hanging"], added = await hanging(servers, rows, quick=quick)
            await rows.close()
        sections["claims"] = await claims(servers, quick=quick)
    report.save(facts, sections, "reminders")
    return [ratio, inbox, *added]


def main() -> int:
    """Run all; 0 if every bound is kept, 1 if one is broken, 2 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.reminders", description="Measures the reminder engine.")
    parser.add_argument("--quick", action="store_true", help="fewer reminders: coarser, in less than a minute")
    arguments = parser.parse_args()
    exit_on_sigterm()
    try:
        ratios = uvloop.run(_run(quick=arguments.quick))
    except (EngineError, ServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    broken = [ratio for ratio in ratios if not ratio.kept]
    print("\nEvery bound is kept." if not broken else "\nBROKEN:", *broken, sep="\n  " if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
