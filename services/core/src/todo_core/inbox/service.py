"""The rules for reading the inbox."""

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from todo_core.accounts.tokens import Principal
from todo_core.errors import Fault, Invalid, NotFound, Unauthenticated
from todo_core.inbox.repository import LARGEST_SEQ, InboxMarks, InboxReads
from todo_core.paging import Place, decode_cursor, encode_cursor


class NotificationNotFound(NotFound):
    """The notification does not exist, or belongs to another account."""

    code = "notification_not_found"


@dataclass(frozen=True, slots=True)
class NotificationPage:
    """Rows with a notification's columns, and the cursor of the next page if there is one."""

    rows: list[asyncpg.Record]
    next_cursor: str | None


class InboxBrowser:
    """Reads an account's notifications, and marks them as read."""

    def __init__(self, reads: InboxReads, marks: InboxMarks) -> None:
        self._reads = reads
        self._marks = marks

    async def page(self, owner: Principal, *, limit: int, cursor: str | None, unread: bool) -> NotificationPage:
        """Return one page, the newest first.

        Raises:
            Invalid: the cursor is not one of this list.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        query = f"notifications|{unread}"
        below = LARGEST_SEQ if cursor is None else _seq(decode_cursor(query, cursor, key_is_instant=False))
        rows = await self._reads.page(owner, below=below, limit=limit + 1, unread=unread)
        if rows is None:
            raise Unauthenticated
        if len(rows) <= limit:
            return NotificationPage(rows, None)
        last = rows[limit - 1]
        return NotificationPage(rows[:limit], encode_cursor(query, Place(str(last["seq"]), UUID(last["id"]))))

    async def mark_read(self, owner: Principal, notification_id: UUID) -> asyncpg.Record:
        """Mark one notification as read. One that is read already keeps its first time.

        Raises:
            NotificationNotFound: there is no such notification, or it is someone else's.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        row = await self._marks.one(owner, notification_id)
        if row is None:
            raise Unauthenticated
        if row["id"] is None:
            raise NotificationNotFound
        return row

    async def mark_all_read(self, owner: Principal, up_to: int | None) -> int:
        """Mark all as read, or all up to a number; return how many were not.

        Raises:
            Unauthenticated: the account is gone, or the token has been ended.
        """
        marked = await self._marks.all(owner, LARGEST_SEQ if up_to is None else up_to)
        if marked is None:
            raise Unauthenticated
        return marked


def _seq(place: Place) -> int:
    # The digest tells queries apart and is no signature: a cursor's content is checked as any other input.
    key = place.key if isinstance(place.key, str) else ""
    if not (key.isascii() and key.isdigit() and len(key) <= 19 and int(key) <= LARGEST_SEQ):
        raise Invalid(Fault("cursor", "cursor"))
    return int(key)
