"""What the release before reminders (schema 0002) does to the database, in plain SQL: insert, update, list a page.

Each is asked for at its time, whether or not the one before has been answered, and waits from that time on: somebody
who has to queue behind a slow answer is counted with it.
"""

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from todo_core.ids import new_id

READS_PER_SECOND = 50
WRITES_PER_SECOND = 50
CONNECTIONS = 5
"""Of each kind: the API's own default for a pool."""

# The limits that the release set, so that what would have failed there fails here.
_LIMITS = {"statement_timeout": "5000", "lock_timeout": "2000", "application_name": "todo"}
_COLUMNS = "id, title, description, due_at, completed, completed_at, created_at, updated_at, version"
_PAGE = (
    f"SELECT {_COLUMNS} FROM todos WHERE owner_id = $1 AND completed = false ORDER BY created_at DESC, id DESC LIMIT 21"
)
_LOCK_ACCOUNT = (
    "UPDATE accounts SET change_seq = change_seq + 1, changed_at = greatest(clock_timestamp(), changed_at)"
    " WHERE id = $1 RETURNING changed_at"
)
_INSERT = (
    "INSERT INTO todos (id, owner_id, title, description, due_at, completed_at, created_at, updated_at, version)"
    " VALUES ($1, $2, $3, NULL, now() + interval '2 days', NULL, $4, $4, 1)"
)
_LOCK_TODO = f"SELECT {_COLUMNS} FROM todos WHERE owner_id = $1 AND id = $2 FOR UPDATE"
_SOME_TODOS = "SELECT owner_id, id FROM todos TABLESAMPLE system (2) ORDER BY random() LIMIT 20000"
_MOVE = (
    "UPDATE todos SET due_at = now() + interval '3 days' + $3 * interval '1 second', completed_at = NULL,"
    " updated_at = $2, version = version + 1 WHERE id = $1"
)
_COMPLETE = "UPDATE todos SET completed_at = $2, updated_at = $2, version = version + 1 WHERE id = $1"


@dataclass(slots=True)
class Waits:
    """How long each of one kind took, in seconds, and when it was asked for."""

    seconds: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def longest(self, begin: float = 0.0, end: float = float("inf")) -> tuple[float, float]:
        """The longest asked for within this time, and when that was."""
        within = [(took, at) for took, at in zip(self.seconds, self.asked, strict=True) if begin <= at <= end]
        return max(within, default=(0.0, 0.0))

    def count(self, begin: float, end: float) -> int:
        """How many were asked for within this time."""
        return sum(begin <= at <= end for at in self.asked)


class OldRelease:
    """At work from `start` to `stop`."""

    def __init__(self, address: str) -> None:
        self.waits: dict[str, Waits] = defaultdict(Waits)
        self._address = address
        self._todos: list[tuple[UUID, UUID]] = []
        self._dice = random.Random(20_261_124)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._pools: list[asyncpg.Pool] = []

    async def start(self) -> None:
        """Begin."""
        connection = await asyncpg.connect(self._address)
        self._todos = [(row["owner_id"], row["id"]) for row in await connection.fetch(_SOME_TODOS)]
        await connection.close()
        for rate, kinds in (
            (READS_PER_SECOND, (("read", self._read),)),
            (WRITES_PER_SECOND, (("insert", self._insert), ("update", self._move), ("update", self._complete))),
        ):
            pool = await asyncpg.create_pool(
                self._address, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=_LIMITS
            )
            self._pools.append(pool)
            self._tasks.append(asyncio.create_task(self._ask(pool, rate, kinds)))

    async def stop(self) -> None:
        """End, once all is answered."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        for pool in self._pools:
            await pool.close()

    async def _ask(
        self,
        pool: asyncpg.Pool,
        rate: int,
        kinds: tuple[tuple[str, Callable[[asyncpg.Connection], Awaitable[None]]], ...],
    ) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                if self._stopping:
                    return
                asked = began + number / rate
                await asyncio.sleep(max(0.0, asked - time.monotonic()))
                name, work = kinds[number % len(kinds)]
                group.create_task(self._one(pool, name, work, asked))

    async def _one(
        self, pool: asyncpg.Pool, name: str, work: Callable[[asyncpg.Connection], Awaitable[None]], asked: float
    ) -> None:
        waits = self.waits[name]
        try:
            async with pool.acquire() as connection, connection.transaction():
                await work(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            waits.failures.append(f"{type(error).__name__}: {error}")
        waits.asked.append(asked)
        waits.seconds.append(time.monotonic() - asked)

    async def _read(self, connection: asyncpg.Connection) -> None:
        await connection.fetch(_PAGE, self._dice.choice(self._todos)[0])

    async def _insert(self, connection: asyncpg.Connection) -> None:
        account, _ = self._dice.choice(self._todos)
        at = await connection.fetchval(_LOCK_ACCOUNT, account)
        await connection.execute(_INSERT, new_id(), account, "Written by the old release", at)

    async def _move(self, connection: asyncpg.Connection) -> None:
        account, todo = self._dice.choice(self._todos)
        at = await connection.fetchval(_LOCK_ACCOUNT, account)
        await connection.fetchrow(_LOCK_TODO, account, todo)
        await connection.execute(_MOVE, todo, at, self._dice.randrange(86_400))

    async def _complete(self, connection: asyncpg.Connection) -> None:
        account, todo = self._dice.choice(self._todos)
        at = await connection.fetchval(_LOCK_ACCOUNT, account)
        await connection.fetchrow(_LOCK_TODO, account, todo)
        await connection.execute(_COMPLETE, todo, at)
