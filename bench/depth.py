"""Page 1 and page 1,000 of one account with 100,000 todos: a keyset page costs the same at any depth.

Two costs that are equally high would pass for equal, so page 1 is also held against that of a small account.
"""

from collections.abc import Iterator
from statistics import median
from time import perf_counter
from urllib.parse import urlencode

import asyncpg
import httpx
import orjson

from bench import data, report
from bench.load import again
from bench.sampling import Effort, Ratio, Sample, Target, alternate
from bench.stack import Account, Server, Stack, StackError, fetch, sign_up

TODOS = 100_000
FEW_TODOS = 1_000
PAGE = 20
STRIDE = 100
"""The largest page: a cursor does not care by how large steps it was reached."""
DEPTHS = {"-created_at": (1_000,), "due_at": (1_000, 4_000), "title": (1_000,)}
"""Three todos in five have a due date, so page 4,000 of that sort lies among those that have none, which come last."""
BOUND = 1.3

# One connection: the latency is then what one person waits for, not a queue.
FULL = Effort(connections=1, requests=200, seconds=1.0, warm_up=20)
QUICK = Effort(connections=1, requests=50, seconds=0.4, warm_up=10)


async def run(stack: Stack, *, quick: bool) -> tuple[dict[str, object], list[Ratio]]:
    """Measure, print, and return the figures with the bound's ratios."""
    server = stack.serve_api("api", cached=False)
    account, small = sign_up(server), sign_up(server, "small")
    connection = await asyncpg.connect(stack.postgres.url())
    try:
        await data.insert_todos(connection, small.id, FEW_TODOS)
        await data.insert_todos(connection, account.id, TODOS)
        await data.copy_for_references(connection)
        targets = [target for sort in DEPTHS for target in _targets(server, account, small, sort)]
        print(f"\nPages of {PAGE} out of {TODOS:,} todos of one account, cache off, one connection")
        samples = await alternate(targets, QUICK if quick else FULL, stack.meters, rounds=9 if quick else 15)
        print(report.samples_table(samples, first_column="page"))
        ratios = [ratio for sort in DEPTHS for ratio in _ratios(sort, samples)]
        print(*ratios, sep="\n")
        print(await _offset_for_context(connection, account))
        print(await _disk(connection))
    finally:
        await connection.close()
    return report.as_json(samples, ratios), ratios


def _small(sort: str) -> str:
    return f"{sort}, page 1 of an account with {FEW_TODOS:,}"


def _page(sort: str, page: int) -> str:
    return f"{sort}, page {page:,}"


def _targets(server: Server, account: Account, small: Account, sort: str) -> Iterator[Target]:
    """Page 1 of both accounts, then the deep ones."""

    def target(name: str, of: Account, **more: str) -> Target:
        path = "/todos/?" + urlencode({"limit": PAGE, "sort": sort, **more})
        body = fetch(server, path, of.token).content
        if len(orjson.loads(body)["items"]) != PAGE:
            raise StackError(f"{name}, is not full")
        return Target(name, server.port, server.process.pid, again("GET", path, of.token), body)

    yield target(_small(sort), small)
    yield target(_page(sort, 1), account)
    for depth in DEPTHS[sort]:
        yield target(_page(sort, depth), account, cursor=_walk(server, account, sort, (depth - 1) * PAGE))


def _walk(server: Server, account: Account, sort: str, rows: int) -> str:
    """The cursor behind the first `rows`, reached page by page as a client would, each row seen once."""
    seen: set[str] = set()
    passed = 0
    cursor: str | None = None
    headers = {"Authorization": f"Bearer {account.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30, trust_env=False) as client:
        while passed < rows:
            parameters = {"sort": sort, "limit": str(min(STRIDE, rows - passed))}
            answer = client.get("/todos/", params=parameters | ({"cursor": cursor} if cursor else {}))
            if not answer.is_success:
                raise StackError(f"walking {sort}: {answer.status_code} {answer.text[:300]}")
            page = orjson.loads(answer.content)
            seen.update(item["id"] for item in page["items"])
            passed += len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                raise StackError(f"walking {sort}: the list ended after {passed:,} of {rows:,} todos")
    if len(seen) != rows or cursor is None:
        raise StackError(f"walking {sort}: {rows:,} rows held {len(seen):,} different todos")
    return cursor


def _ratios(sort: str, samples: dict[str, list[Sample]]) -> Iterator[Ratio]:
    """For what a person waits, and for what the machine spends."""
    first = _page(sort, 1)
    pairs = [(first, _small(sort)), *((_page(sort, depth), first) for depth in DEPTHS[sort])]
    for over, under in pairs:
        for what, read in (("latency", "p50_ms"), ("server + PostgreSQL CPU", "total_us")):
            a, b = ([getattr(sample, read) for sample in samples[name]] for name in (over, under))
            yield Ratio.of(f"{over} / {under.removeprefix(sort + ', ')}, {what}", a, b, BOUND)


async def _offset_for_context(connection: asyncpg.Connection, account: Account) -> str:
    """What the same pages cost by OFFSET, in PostgreSQL alone and with an index made for it."""
    columns = "id, title, description, due_at, completed, completed_at, created_at, updated_at, version"
    statement = await connection.prepare(
        f"SELECT {columns} FROM reference.todos WHERE owner_id = $1"
        f" ORDER BY created_at DESC, id DESC LIMIT {PAGE} OFFSET $2"
    )
    cells = []
    for page in (1, 1_000, TODOS // PAGE):
        times = []
        for _ in range(7):
            began = perf_counter()
            await statement.fetch(account.id, (page - 1) * PAGE)
            times.append((perf_counter() - began) * 1e3)
        cells.append(f"page {page:,} {median(times):.1f} ms")
    return f"For context, OFFSET in PostgreSQL alone, by -created_at: {', '.join(cells)}"


async def _disk(connection: asyncpg.Connection) -> str:
    """What a todo takes on disk, its indexes included."""
    size, indexes, count = await connection.fetchrow(
        "SELECT pg_total_relation_size('todos'), pg_indexes_size('todos'), (SELECT count(*) FROM todos)"
    )
    return f"A todo takes {size / count:.0f} bytes, {indexes / count:.0f} of them in indexes."
