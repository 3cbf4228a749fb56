"""The hot routes beside hand-written ones, in one run: server CPU a request, from one uvicorn process each."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import orjson

from bench import data, report
from bench.load import Requests, again, request
from bench.sampling import Effort, Ratio, Sample, Target, alternate
from bench.stack import Account, Server, Stack, fetch, sign_up
from todo_core.paging import Place, encode_cursor
from todo_core.todos.queries import ListQuery

CONNECTIONS = 32
TODOS = 40_000
"""More than one run has questions, so that no page is asked for twice."""
BOUNDS = {"create": 2.5, "complete": 2.5, "patch": 2.5, "uncached list": 2.0, "read by id": 2.0}
CACHED_BOUND = 1.5
FOR_CONTEXT = ("create, due tomorrow",)
GUARD_MARGIN = 1.3
"""How much more `--quick` lets pass: it has fewer and shorter rounds, and CI's machine may be busy."""
TAIL_BOUND = 8.0
"""p99 of creates from as many accounts as connections, over their p50."""

# Many short rounds: what is compared is measured within a second or two of each other, and the machine drifts slower.
FULL = Effort(connections=CONNECTIONS, requests=1_000, seconds=1.0, warm_up=100)
QUICK = Effort(connections=CONNECTIONS, requests=400, seconds=0.6, warm_up=64)


async def run(stack: Stack, *, quick: bool) -> tuple[dict[str, object], list[Ratio]]:
    """Measure, print, and return the figures with the bounds' ratios."""
    targets = await _prepare(stack)
    print(f"\nOne process each, {CONNECTIONS} connections of as many accounts; lists of 20 out of {TODOS:,} todos")
    samples = await alternate(targets, QUICK if quick else FULL, stack.meters, rounds=9 if quick else 15)
    print(report.samples_table(samples, first_column="request"))
    margin = GUARD_MARGIN if quick else 1
    ratios = [_cpu(samples, kind, "by hand", bound * margin) for kind, bound in BOUNDS.items()]
    ratios += [
        _cpu(samples, "cached list", "FastAPI, a JWT check and the same bytes", CACHED_BOUND * margin),
        *(_cpu(samples, kind, "by hand", None) for kind in FOR_CONTEXT),
        Ratio.of(
            f"create from {CONNECTIONS} accounts, p99 / p50",
            [sample.p99_ms for sample in samples["create"]],
            [sample.p50_ms for sample in samples["create"]],
            TAIL_BOUND,
        ),
    ]
    print(*ratios, sep="\n")
    return report.as_json(samples, ratios), ratios


def _cpu(samples: dict[str, list[Sample]], kind: str, reference: str, bound: float | None) -> Ratio:
    ours, theirs = ([sample.server_us for sample in samples[name]] for name in (kind, f"{kind}, {reference}"))
    return Ratio.of(f"{kind} / {reference}", ours, theirs, bound)


async def _prepare(stack: Stack) -> list[Target]:
    """Start all servers, write the rows; each target stands beside the one that it is compared with."""
    api = stack.serve_api("api", cached=True)
    people = await asyncio.gather(
        *(asyncio.to_thread(sign_up, api, f"person{number}") for number in range(CONNECTIONS))
    )
    reader = sign_up(api, "reader")
    connection = await asyncpg.connect(stack.postgres.url())
    try:
        await data.insert_todos(connection, reader.id, TODOS)
        await data.copy_for_references(connection)
        places = await connection.fetch("SELECT id, created_at FROM reference.todos ORDER BY created_at OFFSET 21")
        own = [await _one_each(connection, people) for _ in range(4)]
    finally:
        await connection.close()
    page = fetch(api, "/todos/", reader.token).content
    stack.body_file.write_bytes(page)
    by_hand, same_bytes = stack.serve_reference("hand_written"), stack.serve_reference("fastapi_bytes")

    def both(kind: str, ours: Requests, theirs: Requests) -> Iterator[Target]:
        yield Target(kind, api.port, api.process.pid, ours)
        yield Target(f"{kind}, by hand", by_hand.port, by_hand.process.pid, theirs)

    def cached(name: str, server: Server) -> Target:
        return Target(name, server.port, server.process.pid, again("GET", "/todos/", reader.token), page)

    creates = _creates(people, {"description": "Two litres, the blue one"})
    due = _creates(people, {"due_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()})
    questions, reads = _questions(reader, places), _reads(reader, places)
    return [
        *both("create", creates, creates),
        *both("create, due tomorrow", due, due),
        *both("complete", _turns(people, own[0]), _turns(people, own[1])),
        *both("patch", _patches(people, own[2]), _patches(people, own[3])),
        *both("uncached list", questions, questions),
        *both("read by id", reads, reads),
        cached("cached list", api),
        cached("cached list, FastAPI, a JWT check and the same bytes", same_bytes),
    ]


async def _one_each(connection: asyncpg.Connection, people: list[Account]) -> list[UUID]:
    return [
        await connection.fetchval(
            "INSERT INTO todos (id, owner_id, title, created_at, updated_at)"
            " VALUES (gen_random_uuid(), $1, 'Buy milk', now(), now()) RETURNING id",
            person.id,
        )
        for person in people
    ]


def _creates(people: list[Account], fields: dict[str, str]) -> Requests:
    body = orjson.dumps({"title": "Buy milk", **fields})
    return lambda number: itertools.repeat(request("POST", "/todos/", people[number].token, body))


def _turns(people: list[Account], todos: list[UUID]) -> Requests:
    """Complete, reopen, complete: each of them changes something."""
    turns = [
        itertools.cycle(request("POST", f"/todos/{todo}/{verb}", person.token) for verb in ("complete", "reopen"))
        for person, todo in zip(people, todos, strict=True)
    ]
    return turns.__getitem__


def _patches(people: list[Account], todos: list[UUID]) -> Requests:
    numbers = itertools.count()

    def patches(number: int) -> Iterator[bytes]:
        for each in numbers:
            body = orjson.dumps({"title": f"Buy milk {each}"})
            yield request("PATCH", f"/todos/{todos[number]}", people[number].token, body)

    return patches


def _questions(reader: Account, places: list[asyncpg.Record]) -> Requests:
    """Pages from different places, none of them twice."""
    random.Random(data.SEED).shuffle(places)
    query = ListQuery().canonical
    cursors = (encode_cursor(query, Place(place["created_at"], UUID(str(place["id"])))) for place in places)
    requests = (request("GET", f"/todos/?limit=20&cursor={cursor}", reader.token) for cursor in cursors)
    return lambda _: requests


def _reads(reader: Account, places: list[asyncpg.Record]) -> Requests:
    requests = itertools.cycle([request("GET", f"/todos/{place['id']}", reader.token) for place in places[:1_000]])
    return lambda _: requests
