"""The statements of the engine that sends reminders: claim, lease, settle.

Each is one statement and so one transaction: if a worker dies in it, it is rolled back; if it dies between two of them,
the rows show what is still to be done. Only the database's clock decides what is due.

Rows are locked in one order everywhere: reminders, then deliveries, each by id or by `SKIP LOCKED`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from todo_core.database import StatementPool

# A reminder whose account is disabled or has no enabled channel is skipped, or it would wait for a delivery for ever.
_CLAIM = """
WITH due AS (
    SELECT r.id, r.account_id, r.occurrence, r.remind_at
    FROM reminders r
    WHERE r.state = 'scheduled' AND r.remind_at <= now()
    ORDER BY r.remind_at {direction}
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), target AS MATERIALIZED (
    SELECT due.id, due.occurrence, due.remind_at, c.channel, c.endpoint_id
    FROM due
    JOIN accounts a ON a.id = due.account_id AND a.disabled_at IS NULL
    LEFT JOIN preferences p ON p.account_id = a.id
    CROSS JOIN LATERAL (
        SELECT 'inbox' AS channel, a.id AS endpoint_id WHERE coalesce(p.inbox, true)
        UNION ALL
        SELECT 'email', a.id WHERE coalesce(p.email, true) AND a.email_verified_at IS NOT NULL
        UNION ALL
        SELECT 'webhook', w.id FROM webhooks w
        WHERE w.account_id = a.id AND w.active AND coalesce(p.webhook, true)
    ) c
), claimed AS (
    UPDATE reminders r
    SET state = CASE WHEN EXISTS (SELECT 1 FROM target t WHERE t.id = r.id) THEN 'claimed' ELSE 'skipped' END,
        claimed_at = now()
    FROM due WHERE r.id = due.id
    RETURNING r.id
), made AS (
    INSERT INTO deliveries (id, reminder_id, occurrence, channel, endpoint_id, due_at, next_attempt_at)
    SELECT gen_random_uuid(), id, occurrence, channel, endpoint_id, remind_at, remind_at FROM target
    ON CONFLICT (reminder_id, occurrence, channel, endpoint_id) DO NOTHING
    RETURNING id
)
SELECT (SELECT count(*) FROM claimed) AS reminders, array(SELECT id FROM made) AS deliveries
"""

# Of a delivery `d`, its reminder `r`, its todo `t`, its account `a` with preferences `p`, and its webhook `w`, if any.
_WANTED = """r.state = 'claimed' AND r.occurrence = d.occurrence AND NOT t.completed AND a.disabled_at IS NULL
           AND CASE d.channel
                   WHEN 'inbox' THEN coalesce(p.inbox, true)
                   WHEN 'email' THEN coalesce(p.email, true) AND a.email_verified_at IS NOT NULL
                   WHEN 'webhook' THEN coalesce(p.webhook, true) AND w.active
                   ELSE true
               END"""

# `next_attempt_at` moves to the lease's end, so that one index finds due deliveries and those of a dead worker.
# More rows are read than are leased, so that one endpoint's queue does not hide the rows behind it.
# The first lease stores the todo's values of a webhook's body: a repeat under the same id has the same body.
_LEASE = """
WITH candidate AS (
    SELECT d.id, d.reminder_id, d.channel, d.endpoint_id, d.next_attempt_at, d.lease_until
    FROM deliveries d
    WHERE d.state = 'pending' AND d.next_attempt_at <= now()
      AND d.channel = ANY($4::text[]) AND d.endpoint_id <> ALL($6::uuid[]){which}
    ORDER BY d.next_attempt_at {direction}
    LIMIT $1 * 2
    FOR UPDATE SKIP LOCKED
), by_endpoint AS (
    SELECT candidate.*,
           row_number() OVER (PARTITION BY channel, endpoint_id ORDER BY next_attempt_at {direction}) AS endpoint_turn
    FROM candidate
), by_channel AS (
    SELECT by_endpoint.*, row_number() OVER (PARTITION BY channel ORDER BY next_attempt_at {direction}) AS channel_turn
    FROM by_endpoint LEFT JOIN unnest($8::uuid[]) AS trusted (id) ON trusted.id = endpoint_id
    WHERE endpoint_turn <= CASE WHEN channel <> ALL ($7::text[]) THEN $1 WHEN trusted.id IS NULL THEN 1 ELSE $2 END
), chosen AS (
    SELECT id, reminder_id, lease_until
    FROM by_channel JOIN unnest($4::text[], $5::int[]) AS room (channel, free) USING (channel)
    WHERE channel_turn <= room.free
    ORDER BY next_attempt_at {direction}
    LIMIT $1
), leased AS (
    UPDATE deliveries d
    SET fence = d.fence + 1, attempts = d.attempts + 1,
        lease_until = now() + $3::interval, next_attempt_at = now() + $3::interval,
        webhook_title = CASE WHEN d.channel = 'webhook' THEN coalesce(d.webhook_title, t.title) END,
        webhook_due_at = CASE WHEN d.channel = 'webhook' AND d.webhook_title IS NULL THEN t.due_at
                              ELSE d.webhook_due_at END
    FROM chosen JOIN reminders r ON r.id = chosen.reminder_id JOIN todos t ON t.id = r.todo_id
    WHERE d.id = chosen.id
    RETURNING d.id, d.reminder_id, d.occurrence, d.channel, d.endpoint_id, d.due_at, d.created_at, d.attempts, d.fence,
              d.webhook_title, d.webhook_due_at, chosen.lease_until IS NOT NULL AS lease_expired
)
SELECT d.id, d.reminder_id, d.occurrence, d.channel, d.endpoint_id, d.due_at, d.attempts, d.fence, d.lease_expired,
       now() - d.created_at AS age,
       r.account_id, r.todo_id, coalesce(d.webhook_title, t.title) AS title,
       CASE WHEN d.webhook_title IS NULL THEN t.due_at ELSE d.webhook_due_at END AS todo_due_at,
       a.username, a.email, a.locale, a.timezone,
       w.url, w.secret,
       CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret,
       w.failing_since IS NOT NULL AS failing,
       coalesce(
           {wanted},
           false
       ) AS wanted
FROM leased d
JOIN reminders r ON r.id = d.reminder_id
JOIN todos t ON t.id = r.todo_id
JOIN accounts a ON a.id = r.account_id
LEFT JOIN preferences p ON p.account_id = r.account_id
LEFT JOIN webhooks w ON d.channel = 'webhook' AND w.id = d.endpoint_id
""".replace("{wanted}", _WANTED)

_STILL_WANTED = """
SELECT d.id
FROM unnest($1::uuid[], $2::bigint[]) AS asked (id, fence)
JOIN deliveries d ON d.id = asked.id AND d.fence = asked.fence AND d.state = 'pending' AND d.lease_until > now()
JOIN reminders r ON r.id = d.reminder_id
JOIN todos t ON t.id = r.todo_id
JOIN accounts a ON a.id = r.account_id
LEFT JOIN preferences p ON p.account_id = r.account_id
LEFT JOIN webhooks w ON d.channel = 'webhook' AND w.id = d.endpoint_id
WHERE {wanted}
""".replace("{wanted}", _WANTED)
_AMONG_THESE = " AND d.id = ANY($9::uuid[])"

# A delivery cancelled during its attempt stays cancelled, unless the attempt succeeded: then it is sent.
_SETTLE = """
WITH outcome AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::interval[])
        AS o (id, fence, state, error, delay)
), mine AS (
    SELECT d.id FROM deliveries d JOIN outcome o ON o.id = d.id AND o.fence = d.fence ORDER BY d.id FOR UPDATE OF d
)
UPDATE deliveries d
SET state = CASE WHEN d.state = 'pending' OR o.state = 'sent' THEN o.state ELSE d.state END,
    next_attempt_at = now() + coalesce(o.delay, '0'),
    settled_at = CASE WHEN o.state = 'pending' THEN d.settled_at ELSE now() END,
    lease_until = NULL,
    webhook_title = CASE WHEN o.state IN ('sent', 'cancelled') THEN NULL ELSE d.webhook_title END,
    webhook_due_at = CASE WHEN o.state IN ('sent', 'cancelled') THEN NULL ELSE d.webhook_due_at END,
    last_error = CASE WHEN o.state = 'sent' THEN NULL ELSE coalesce(o.error, d.last_error) END
FROM outcome o, mine
WHERE d.id = o.id AND mine.id = d.id AND d.fence = o.fence
RETURNING d.id
"""

WORKER = "todo-worker"
"""The name that a worker's connections have in PostgreSQL. Each worker asks every few seconds, even with nothing to do:
so the time of the last statement under this name is a heartbeat that is seen from every host."""
_LAST_SEEN = """
SELECT extract(epoch FROM clock_timestamp() - max(state_change))::float8 AS seconds
FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
"""

_STATE = """
SELECT
    coalesce(extract(epoch FROM now() - (
        SELECT min(remind_at) FROM reminders WHERE state = 'scheduled' AND remind_at <= now()
    )), 0)::float8 AS oldest_reminder_seconds,
    coalesce(extract(epoch FROM now() - (
        SELECT min(next_attempt_at) FROM deliveries WHERE state = 'pending' AND next_attempt_at <= now()
    )), 0)::float8 AS oldest_delivery_seconds
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The result of one claim: the number of reminders, and the ids of their deliveries."""

    reminders: int
    deliveries: list[str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery under lease, with all that a channel needs to send it."""

    id: str
    reminder_id: str
    occurrence: int
    channel: str
    endpoint_id: str
    fence: int
    attempts: int
    """The number of attempts, this one included."""
    age: timedelta
    """Time since the delivery was created."""
    due_at: datetime
    lease_expired: bool
    """True if another worker's lease on it expired."""
    wanted: bool
    """False if since then its todo was completed or moved, or its endpoint switched off: it is not sent."""
    account_id: str
    username: str
    email: str
    locale: str
    timezone: str
    todo_id: str
    title: str
    todo_due_at: datetime | None
    url: str | None
    secret: str | None
    previous_secret: str | None
    failing: bool
    """True if its webhook has failed since an earlier attempt."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a leased delivery: `sent`, `cancelled`, `dead`, or `pending` again after `delay`."""

    id: str
    fence: int
    state: str
    error: str | None = None
    delay: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """The ages in seconds of the oldest reminder and delivery that are due; 0 if none is."""

    oldest_reminder_seconds: float
    oldest_delivery_seconds: float


class Dispatch:
    """Runs the engine's statements on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def claim(self, limit: int, *, newest_first: bool = False) -> Claimed:
        """Turn due reminders into deliveries, at most `limit` of them.

        Oldest first. With `newest_first`, new reminders stay punctual while the backlog of an outage is worked off.
        """
        row = await self._statements.fetchrow(_CLAIM.format(direction="DESC" if newest_first else "ASC"), limit)
        return Claimed(0, []) if row is None else Claimed(row["reminders"], list(row["deliveries"]))

    async def lease(
        self,
        limit: int,
        *,
        rooms: Mapping[str, int],
        lease: timedelta,
        rationed: Collection[str] = (),
        per_endpoint: int = 1,
        trusted: Collection[str] = (),
        busy_endpoints: Collection[str] = (),
        newest_first: bool = False,
        among: Collection[str] | None = None,
    ) -> list[Delivery]:
        """Lease due deliveries: no other worker sends them until the lease ends.

        At most `limit`, at most `rooms[channel]` of a channel (none of one that is not in it), none for endpoints that
        are busy; if `among` is given, only of these. In the channels that are `rationed`, at most `per_endpoint` for
        one that is `trusted`, and one for any other. The todo is read in the same statement: what is no longer wanted
        says so.
        """
        statement = _LEASE.format(
            direction="DESC" if newest_first else "ASC", which="" if among is None else _AMONG_THESE
        )
        rows = await self._statements.fetch(
            statement,
            limit,
            per_endpoint,
            lease,
            list(rooms),
            list(rooms.values()),
            list(busy_endpoints),
            list(rationed),
            list(trusted),
            *(() if among is None else (list(among),)),
        )
        return [Delivery(**row) for row in rows]

    async def still_wanted(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Tell for each leased delivery whether it is still to be sent, and still by this worker."""
        rows = await self._statements.fetch(
            _STILL_WANTED, [delivery.id for delivery in deliveries], [delivery.fence for delivery in deliveries]
        )
        found = {row["id"] for row in rows}
        return [delivery.id in found for delivery in deliveries]

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        """Write the outcomes of leased deliveries. Deliveries that another worker has leased since stay unchanged.

        Returns:
            the ids of the deliveries that were settled.
        """
        rows = await self._statements.fetch(
            _SETTLE,
            [outcome.id for outcome in outcomes],
            [outcome.fence for outcome in outcomes],
            [outcome.state for outcome in outcomes],
            [outcome.error for outcome in outcomes],
            [outcome.delay for outcome in outcomes],
        )
        return {row["id"] for row in rows}

    async def worker_seen_seconds(self) -> float | None:
        """Return the seconds since a worker's last statement; None if no worker is connected."""
        row = await self._statements.fetchrow(_LAST_SEEN, WORKER)
        return None if row is None else row["seconds"]

    async def backlog(self) -> Backlog:
        """Return the ages of the oldest due reminder and delivery."""
        row = await self._statements.fetchrow(_STATE)
        return Backlog(0, 0) if row is None else Backlog(**row)
