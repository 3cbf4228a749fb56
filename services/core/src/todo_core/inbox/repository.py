"""The inbox: what an account was told in the app, in the order in which it was told.

Every notification has a number of its account's own, taken under the lock of the account's counter and kept until the
commit. So numbers become visible in their order: a reader who has seen n finds whatever comes later above n, however
many writers there are. A sequence would not do: it hands out 7 and 8, 8 commits first, and who has read 8 has passed 7.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from todo_core.accounts.tokens import Principal
from todo_core.database import StatementPool
from todo_core.ids import new_id

COLUMNS = "id, kind, delivery_id, todo_id, title, due_at, created_at, read_at, seq"
"""A notification as people see it."""
_OF_N = ", ".join(f"n.{column}" for column in COLUMNS.split(", "))
LARGEST_SEQ = 2**53 - 1  # what every client's JSON can hold

# One statement, so one transaction, and the locks are taken in the order in which they stand here. The account's comes
# first, as when an account is deleted: the two cannot deadlock, and an account that is gone is told nothing.
# A repeat is seen before the counter is raised or, if both run at once, by the constraint: then a number stays empty.
_ADD = """
WITH owner AS MATERIALIZED (
    SELECT id FROM accounts WHERE id = $2::uuid FOR KEY SHARE
), counter AS (
    INSERT INTO inboxes AS i (account_id, last_seq)
    SELECT id, 1 FROM owner
    WHERE $4::uuid IS NULL OR NOT EXISTS (SELECT 1 FROM notifications WHERE delivery_id = $4::uuid)
    ON CONFLICT (account_id) DO UPDATE SET last_seq = i.last_seq + 1
    RETURNING account_id, last_seq
)
INSERT INTO notifications (id, account_id, seq, kind, delivery_id, todo_id, title, due_at)
SELECT $1::uuid, account_id, last_seq, $3, $4::uuid, $5::uuid, $6, $7::timestamptz FROM counter
ON CONFLICT (delivery_id) DO NOTHING
RETURNING seq
"""


class Inboxes:
    """Writes into inboxes, on a process's plain connections."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def add(
        self,
        *,
        account_id: str,
        kind: str,
        title: str,
        delivery_id: str | None,
        todo_id: str | None,
        due_at: datetime | None,
    ) -> int | None:
        """Tell an account something, once for each delivery.

        Returns:
            the notification's number; None for a repeat of a delivery, and for an account that is gone.
        """
        row = await self._statements.fetchrow(
            _ADD, str(new_id()), account_id, kind, delivery_id, todo_id, title, due_at
        )
        return None if row is None else row["seq"]


# Each gives a row for the account even if it has no such notifications (with a null id), and none if the token is not
# good any more.
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
# Locked in their order: two that mark all at the same time cannot deadlock.
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
    """The last number of an inbox, and which tokens its account takes."""

    auth_version: int
    last_seq: int


class InboxReads:
    """The hot reads. Each checks in its one statement that the account still stands behind the token."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def page(
        self, owner: Principal, *, below: int, limit: int, unread: bool = False
    ) -> list[asyncpg.Record] | None:
        """Notifications whose number is less than `below`, the newest first; None if the account is gone."""
        return _rows(await self._statements.fetch(_PAGES[unread], owner.id, owner.auth_version, below, limit))

    async def after(self, owner: Principal, seq: int, limit: int) -> list[asyncpg.Record] | None:
        """Notifications whose number is greater than `seq`, the oldest first; None if the account is gone."""
        return _rows(await self._statements.fetch(_AFTER, owner.id, owner.auth_version, seq, limit))

    async def heads(self, account_ids: list[UUID]) -> dict[UUID, Head]:
        """The last number of each of these inboxes. An account that is gone is not among them."""
        rows = await self._statements.fetch(_HEADS, [str(account_id) for account_id in account_ids])
        return {UUID(row["id"]): Head(row["auth_version"], row["last_seq"]) for row in rows}


class InboxMarks:
    """What is read. Each is one statement on a plain connection, and so a transaction of its own."""

    def __init__(self, statements: StatementPool) -> None:
        self._statements = statements

    async def one(self, owner: Principal, notification_id: UUID) -> asyncpg.Record | None:
        """Mark one as read; its columns, all null if there is no such notification, and None if the account is gone."""
        return await self._statements.fetchrow(_MARK_ONE, owner.id, owner.auth_version, notification_id)

    async def all(self, owner: Principal, up_to: int) -> int | None:
        """Mark those up to a number as read; how many were not, and None if the account is gone."""
        row = await self._statements.fetchrow(_MARK_ALL, owner.id, owner.auth_version, up_to)
        return None if row is None else row["marked"]


def _rows(rows: list[asyncpg.Record]) -> list[asyncpg.Record] | None:
    if not rows:
        return None
    return [] if rows[0]["id"] is None else rows
