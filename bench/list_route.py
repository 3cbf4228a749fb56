"""The list route beside its floors: server CPU for a page of 20, from one uvicorn process each."""

import asyncpg
import orjson

from bench import data, report
from bench.sampling import Effort, Ratio, Target, alternate
from bench.stack import Server, Stack, StackError, fetch, sign_up

TODOS = 1_000
PATH = "/todos/"
WITH_QUERY = "/todos/?limit=20&sort=-created_at"
"""The same page, asked for in full."""
UNCACHED_BOUND = 3.0
CACHED_BOUND = 2.5
UNCACHED, CACHED, QUERIED = "api, cache off", "api, cache on", "api, cache on, ?limit&sort"
REFERENCES = ("starlette_list", "fastapi_bytes", "sqlmodel_ordinary")

# Many short rounds: what is compared is measured within a second or two of each other, and the machine drifts slower.
FULL = Effort(connections=32, requests=1_000, seconds=1.0, warm_up=100)
QUICK = Effort(connections=32, requests=700, seconds=0.7, warm_up=100)


async def run(stack: Stack, *, quick: bool) -> tuple[dict[str, object], list[Ratio]]:
    """Measure, print, and return the figures with the bounds' ratios."""
    targets = await _prepare(stack)
    print(f"\nList of 20 out of {TODOS:,} todos, {len(targets[0].body):,} bytes, {FULL.connections} connections")
    samples = await alternate(targets, QUICK if quick else FULL, stack.meters, rounds=9 if quick else 21)
    print(report.samples_table(samples, first_column="server"))

    cpu = {name: [sample.server_us for sample in taken] for name, taken in samples.items()}
    ratios = [
        Ratio.of("uncached / starlette_list", cpu[UNCACHED], cpu["starlette_list"], UNCACHED_BOUND),
        Ratio.of("cached / fastapi_bytes", cpu[CACHED], cpu["fastapi_bytes"], CACHED_BOUND),
        Ratio.of(f"{QUERIED.removeprefix('api, ')} / fastapi_bytes", cpu[QUERIED], cpu["fastapi_bytes"], None),
        Ratio.of("sqlmodel_ordinary / starlette_list", cpu["sqlmodel_ordinary"], cpu["starlette_list"], None),
    ]
    print(*ratios, sep="\n")
    return report.as_json(samples, ratios), ratios


async def _prepare(stack: Stack) -> list[Target]:
    """Start all of them, and make sure that they answer the same."""
    uncached = stack.serve_api(UNCACHED, cached=False)
    account = sign_up(uncached)
    connection = await asyncpg.connect(stack.postgres.url())
    try:
        await data.insert_todos(connection, account.id, TODOS)
        await data.copy_for_references(connection)
    finally:
        await connection.close()

    def target(server: Server, name: str, path: str = PATH) -> Target:
        body = fetch(server, path, account.token).content
        return Target(name, server.port, server.process.pid, path, account.token, body)

    stack.body_file.write_bytes(fetch(uncached, PATH, account.token).content)
    cached = stack.serve_api(CACHED, cached=True)
    starlette, fastapi, sqlmodel = (stack.serve_reference(name) for name in REFERENCES)
    # Each beside the one that it is compared with, so that they are measured one right after the other.
    targets = [
        target(uncached, UNCACHED),
        target(starlette, starlette.name),
        target(cached, CACHED),
        target(fastapi, fastapi.name),
        target(cached, QUERIED, WITH_QUERY),
        target(sqlmodel, sqlmodel.name),
    ]
    expected = _items(targets[0])
    for other in targets[1:]:
        if _items(other) != expected:
            raise StackError(f"{other.name} answers another page than {UNCACHED!r}: there is nothing to compare")
    return targets


def _items(target: Target) -> list[dict[str, object]]:
    items: list[dict[str, object]] = orjson.loads(target.body)["items"]
    if len(items) != 20:
        raise StackError(f"{target.name} answers {len(items)} todos, not 20")
    return items
