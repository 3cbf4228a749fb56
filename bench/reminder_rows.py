"""Reminders to be sent in a benchmark, and what their rows say afterwards: PostgreSQL's clock is the only one used."""

import asyncio
import base64
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from bench.engine import EngineError
from todo_core.ids import new_id

_STUCK_SECONDS = 30.0

# One after the other in turn, as they come due in life, and not one account after the other.
_FILL = """
WITH made AS (
    INSERT INTO todos (id, owner_id, title, due_at, created_at, updated_at)
    SELECT gen_random_uuid(), ($1::uuid[])[1 + i % cardinality($1::uuid[])], 'Water the plants ' || i,
           $3::timestamptz + i * $4::interval / $2, now(), now()
    FROM generate_series(0, $2 - 1) i
    RETURNING id, owner_id, due_at
)
INSERT INTO reminders (id, account_id, todo_id, before_days, before_seconds, remind_at, state)
SELECT gen_random_uuid(), owner_id, id, 0, 0, due_at, 'scheduled' FROM made
"""

_OPEN = """
SELECT (SELECT count(*) FROM reminders WHERE state = 'scheduled' AND remind_at <= $1)
     + (SELECT count(*) FROM deliveries WHERE state = 'pending' AND due_at <= $1)
"""

_TIMES = """
SELECT count(*) AS count,
       extract(epoch FROM max(d.settled_at) - min(r.claimed_at))::float8 AS working_seconds,
       extract(epoch FROM max(d.settled_at) - min(d.due_at))::float8 AS drain_seconds,
       percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
           ORDER BY extract(epoch FROM d.settled_at - d.due_at)::float8) AS late,
       percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
           ORDER BY extract(epoch FROM d.settled_at - r.claimed_at)::float8) AS after_claim
FROM deliveries d JOIN reminders r ON r.id = d.reminder_id
WHERE d.state = 'sent' AND d.due_at BETWEEN $1 AND $2 AND d.channel = $3 AND r.account_id = ANY ($4::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Lateness:
    """Seconds, of all that was sent."""

    p50: float
    p99: float
    longest: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.3f} s, p99 {self.p99:.3f} s, max {self.longest:.3f} s"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one batch."""

    count: int
    working_seconds: float
    """From the first claim to the last settling."""
    drain_seconds: float
    """From the (first) due time to the last settling."""
    late: Lateness
    """From each one's due time to its settling."""
    after_claim: Lateness
    """From each one's claim to its settling: what is left once the wait for beat's tick is taken out."""

    @property
    def per_second(self) -> float:
        """Claimed, sent and settled a second."""
        return self.count / self.working_seconds


@dataclass(frozen=True, slots=True)
class Batch:
    """Reminders of these accounts, due within this time."""

    accounts: list[str]
    first: datetime
    last: datetime
    count: int


class Rows:
    """One database's, seen from the benchmark."""

    def __init__(self, sql: asyncpg.Connection) -> None:
        self._sql = sql

    @classmethod
    async def of(cls, address: str) -> "Rows":
        """Connect."""
        sql = await asyncpg.connect(address)
        await sql.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
        return cls(sql)

    async def close(self) -> None:
        """Let go."""
        await self._sql.close()

    async def accounts(self, count: int, url: str, channels: Collection[str]) -> list[str]:
        """So many who want to hear by these channels; by webhook at one receiver for all."""
        ids = [str(new_id()) for _ in range(count)]
        names = [f"bench-{account_id.replace('-', '')}" for account_id in ids]
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        await self._sql.execute(
            "INSERT INTO accounts (id, username, username_key, email, email_key, password_hash)"
            " SELECT id, name, name, name || '@example.com', name || '@example.com', 'x'"
            " FROM unnest($1::uuid[], $2::text[]) AS t (id, name)",
            ids,
            names,
        )
        await self._sql.execute(
            "INSERT INTO preferences (account_id, inbox, webhook) SELECT id, $2, $3 FROM unnest($1::uuid[]) AS t (id)",
            ids,
            "inbox" in channels,
            "webhook" in channels,
        )
        await self._sql.execute(
            "INSERT INTO webhooks (id, account_id, url, secret)"
            " SELECT gen_random_uuid(), id, $2 || '/' || id, $3 FROM unnest($1::uuid[]) AS t (id)",
            ids,
            url,
            secret,
        )
        return ids

    async def now(self) -> datetime:
        """PostgreSQL's."""
        now: datetime = await self._sql.fetchval("SELECT clock_timestamp()")
        return now

    async def remind(self, accounts: list[str], count: int, due: datetime, over: float = 0) -> Batch:
        """So many reminders, in turn for each account: due at one instant, or spread evenly over so many seconds."""
        await self._sql.execute(_FILL, accounts, count, due, timedelta(seconds=over))
        return Batch(accounts, due, due + timedelta(seconds=over), count)

    async def calm(self, due: datetime) -> None:
        """Have PostgreSQL look at what was written and flush it, so that it does not do so while we measure.

        Raises:
            EngineError: there was not enough time for it.
        """
        await self._sql.execute("ANALYZE todos, reminders, deliveries, preferences, webhooks, accounts")
        await self._sql.execute("CHECKPOINT")
        if await self.now() >= due:
            raise EngineError("the machine is too slow: reminders came due before they were ready")

    async def wait_until(self, moment: datetime) -> None:
        """By PostgreSQL's clock."""
        await asyncio.sleep(max(0.0, (moment - await self.now()).total_seconds()))

    async def drained(self, until: datetime) -> None:
        """Wait until nothing that was due by then is left.

        Raises:
            EngineError: nothing has moved for a long while.
        """
        left, moved = -1, time.monotonic()
        while now_left := await self._sql.fetchval(_OPEN, until):
            if now_left != left:
                left, moved = now_left, time.monotonic()
            if time.monotonic() - moved > _STUCK_SECONDS:
                raise EngineError(f"{left} reminders or deliveries are stuck")
            await asyncio.sleep(0.25)

    async def sent(self, batch: Batch, channel: str = "webhook") -> Sent:
        """What the rows say of a batch.

        Raises:
            EngineError: not all of it was sent.
        """
        row = await self._sql.fetchrow(_TIMES, batch.first, batch.last, channel, batch.accounts)
        if row["count"] != batch.count:
            raise EngineError(f"{row['count']} of {batch.count} deliveries were sent by {channel}")
        return Sent(
            row["count"],
            row["working_seconds"],
            row["drain_seconds"],
            Lateness(*row["late"]),
            Lateness(*row["after_claim"]),
        )

    async def claim_rate(self, statement: str, batch: int) -> float:
        """Rows a second of one claim statement, asked again and again until nothing is due."""
        prepared = await self._sql.prepare(statement)
        total, began = 0, time.perf_counter()
        while found := (await prepared.fetchrow(batch))["reminders"]:
            total += found
        return total / (time.perf_counter() - began)
