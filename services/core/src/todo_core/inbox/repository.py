"""The inbox: an account's notifications in the app, numbered in the order of their commits.

Each notification takes the account's next number under the lock of the account's counter, which is held until the
commit. So numbers become visible in ascending order: after number n, a reader only has to look above n, with any number
of writers. A sequence would not do: 7 and 8 are given out, 8 commits first, and a reader of 8 would miss 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from todo_core.accounts.tokens import Principal
from todo_core.database import StatementPool
from todo_core.ids import new_id

COLUMNS = "id, kind, delivery_id, todo_id, title, due_at, created_at, read_at, seq"
"""The columns of a notification that the API shows."""
_OF_N = ", ".join(f"n.{column}" for column in COLUMNS.split(", "))
LARGEST_SEQ = 2**53 - 1  # the largest integer that every JSON client can hold

# One statement, so one transaction. Todos are read under locks that every change of them waits for, so no todo is
# announced that was completed, moved or deleted by a transaction that committed before this one.
#
# The locks are taken in the order of the text. The accounts' come first, as in every change of a todo: while they are
# held, no change of these todos is under way, so the later locks cannot deadlock. FOR SHARE, as a change of a todo
# takes NO KEY UPDATE. A row that was changed since the statement began is read again when it is locked, and has to
# match again. A repeat finds its notification: no other worker holds the delivery's lease.
_ANNOUNCE = """
WITH asked AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[])
        AS a (delivery_id, fence, account_id, notification_id)
), owner AS MATERIALIZED (
    SELECT id FROM accounts WHERE id = ANY (ARRAY(SELECT account_id FROM asked)) AND disabled_at IS NULL
    ORDER BY id FOR SHARE{skip}
), wanted AS MATERIALIZED (
    SELECT asked.notification_id, d.id AS delivery_id, d.due_at AS remind_at,
           owner.id AS account_id, t.id AS todo_id, t.title, t.due_at
    FROM asked
    JOIN owner ON owner.id = asked.account_id
    JOIN deliveries d ON d.id = asked.delivery_id
    JOIN reminders r ON r.id = d.reminder_id
    JOIN todos t ON t.id = r.todo_id
    WHERE d.fence = asked.fence AND d.state = 'pending'
      AND r.state = 'claimed' AND r.occurrence = d.occurrence AND NOT t.completed
      AND NOT EXISTS (SELECT FROM preferences p WHERE p.account_id = owner.id AND NOT p.inbox)
    ORDER BY d.id
    FOR SHARE OF t, r, d
), fresh AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY account_id ORDER BY remind_at, delivery_id) AS turn,
           count(*) OVER (PARTITION BY account_id) AS turns
    FROM wanted WHERE NOT EXISTS (SELECT FROM notifications n WHERE n.delivery_id = wanted.delivery_id)
), counter AS (
    INSERT INTO inboxes AS i (account_id, last_seq)
    SELECT account_id, count(*) FROM fresh GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET last_seq = i.last_seq + excluded.last_seq
    RETURNING account_id, last_seq
), added AS (
    INSERT INTO notifications (id, account_id, seq, kind, delivery_id, todo_id, title, due_at)
    SELECT notification_id, account_id, last_seq - turns + turn, 'reminder', delivery_id, todo_id, title, due_at
    FROM fresh JOIN counter USING (account_id)
    ON CONFLICT (delivery_id) DO NOTHING
    RETURNING delivery_id, seq
)
SELECT owner.id IS NULL AS passed_over, wanted.delivery_id IS NOT NULL AS wanted, added.seq
FROM asked
LEFT JOIN owner ON owner.id = asked.account_id
LEFT JOIN wanted ON wanted.delivery_id = asked.delivery_id
LEFT JOIN added ON added.delivery_id = asked.delivery_id
ORDER BY array_position($1::uuid[], asked.delivery_id)
"""


@dataclass(frozen=True, slots=True)
class Leased:
    """A delivery to an inbox, leased by a worker."""

    delivery_id: str
    fence: int
    account_id: str


@dataclass(frozen=True, slots=True)
class Announced:
    """The result of announcing one delivery."""

    wanted: bool
    """False if meanwhile its todo was completed, moved or deleted, its lease taken over, or its account deleted
    or disabled."""
    seq: int | None
    """The notification's number; None if it is not wanted, and for a repeat."""
    passed_over: bool
    """True if its account was locked, so nothing was decided. With `wait`, it means that the account is gone or
    disabled."""


class Inboxes:
    """Writes notifications, on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def announce(self, deliveries: Sequence[Leased], *, wait: bool = False) -> list[Announced]:
        """Add a notification for each delivery that is still wanted; a repeat adds none.

        Args:
            wait: wait for accounts that are locked. Without it they are passed over, so that one of them does not delay
                the others.

        Returns:
            the result of each, in their order.
        """
        rows = await self._statements.fetch(
            _ANNOUNCE.format(skip="" if wait else " SKIP LOCKED"),
            [delivery.delivery_id for delivery in deliveries],
            [delivery.fence for delivery in deliveries],
            [delivery.account_id for delivery in deliveries],
            [str(new_id()) for _ in deliveries],
        )
        return [Announced(**row) for row in rows]


# Each returns a row for the account even if it has no such notifications (with a null id), and none if the token is not
# valid any more.
_LIST = """
SELECT {columns} FROM accounts a
LEFT JOIN LATERAL (
    SELECT * FROM notifications n WHERE n.account_id = a.id AND {which} ORDER BY n.seq {direction} LIMIT $4
) n ON true
WHERE a.id = $1 AND a.auth_version = $2
ORDER BY n.seq {direction}
""".replace("{columns}", _OF_N)
_PAGES = {
    False: _LIST.format(which="n.seq < $3", direction="DESC"),
    True: _LIST.format(which="n.seq < $3 AND n.read_at IS NULL", direction="DESC"),
}
_AFTER = _LIST.format(which="n.seq > $3", direction="ASC")
_HEADS = """
SELECT a.id, a.auth_version, coalesce(i.last_seq, 0) AS last_seq
FROM accounts a LEFT JOIN inboxes i ON i.account_id = a.id
WHERE a.id = ANY($1::uuid[])
"""
# Locked in order of `seq`: two requests that mark all at the same time cannot deadlock.
_MARK = """
WITH owner AS MATERIALIZED (
    SELECT id FROM accounts WHERE id = $1 AND auth_version = $2
), wanted AS MATERIALIZED (
    SELECT n.id FROM notifications n JOIN owner ON n.account_id = owner.id
    WHERE {which} ORDER BY n.seq FOR UPDATE OF n
), marked AS (
    UPDATE notifications n SET read_at = coalesce(n.read_at, now()) FROM wanted WHERE n.id = wanted.id RETURNING n.*
)
SELECT {answer} FROM owner LEFT JOIN marked n ON true{grouped}
"""
_MARK_ONE = _MARK.format(which="n.id = $3", answer=_OF_N, grouped="")
_MARK_ALL = _MARK.format(
    which="n.seq <= $3 AND n.read_at IS NULL", answer="count(n.id) AS marked", grouped=" GROUP BY owner.id"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The last number of an inbox, and which tokens its account accepts."""

    auth_version: int
    last_seq: int


class InboxReads:
    """The hot reads. Each checks in its one statement that the account still accepts the token."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def page(
        self, owner: Principal, *, below: int, limit: int, unread: bool = False
    ) -> list[asyncpg.Record] | None:
        """Return notifications numbered less than `below`, the newest first; None if the account is gone."""
        return _rows(await self._statements.fetch(_PAGES[unread], owner.id, owner.auth_version, below, limit))

    async def after(self, owner: Principal, seq: int, limit: int) -> list[asyncpg.Record] | None:
        """Return notifications numbered greater than `seq`, the oldest first; None if the account is gone."""
        return _rows(await self._statements.fetch(_AFTER, owner.id, owner.auth_version, seq, limit))

    async def heads(self, account_ids: list[UUID]) -> dict[UUID, Head]:
        """Return the last number of each of these inboxes, without accounts that are gone."""
        rows = await self._statements.fetch(_HEADS, [str(account_id) for account_id in account_ids])
        return {UUID(row["id"]): Head(row["auth_version"], row["last_seq"]) for row in rows}


class InboxMarks:
    """Marks notifications as read, each time with one statement on a plain connection, so in one transaction."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def one(self, owner: Principal, notification_id: UUID) -> asyncpg.Record | None:
        """Mark one as read; return its columns, all null if it does not exist, or None if the account is gone."""
        return await self._statements.fetchrow(_MARK_ONE, owner.id, owner.auth_version, notification_id)

    async def all(self, owner: Principal, up_to: int) -> int | None:
        """Mark those up to a number as read; return how many were not, or None if the account is gone."""
        row = await self._statements.fetchrow(_MARK_ALL, owner.id, owner.auth_version, up_to)
        return None if row is None else row["marked"]


def _rows(rows: list[asyncpg.Record]) -> list[asyncpg.Record] | None:
    if not rows:
        return None
    return [] if rows[0]["id"] is None else rows
