"""The rules of preferences, and of reading the inbox."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from uuid import UUID

import asyncpg

from todo_core.accounts.repository import AccountRepository
from todo_core.accounts.tokens import Principal
from todo_core.errors import Fault, Invalid, NotFound, Unauthenticated
from todo_core.notifications.inbox import LARGEST_SEQ, InboxMarks, InboxReads
from todo_core.notifications.repository import NotificationReads, PreferencesRepository
from todo_core.paging import Place, decode_cursor, encode_cursor
from todo_core.reminders.service import ReminderService

MOST_DEFAULTS = 10


class NotificationNotFound(NotFound):
    """There is no such notification, or it is someone else's."""

    code = "notification_not_found"


@dataclass(frozen=True, slots=True)
class CurrentPreferences:
    """How an account is reminded, as it is now."""

    default_reminders: list[str]
    inbox: bool
    email: bool
    webhook: bool
    quiet_start: time | None
    quiet_end: time | None
    timezone: str
    email_verified_at: datetime | None


class PreferencesService:
    """Changes are made under the account's lock, and its reminders move in the same transaction."""

    def __init__(
        self,
        accounts: AccountRepository,
        preferences: PreferencesRepository,
        reminders: ReminderService,
        reads: NotificationReads,
    ) -> None:
        self._accounts = accounts
        self._preferences = preferences
        self._reminders = reminders
        self._reads = reads

    async def get(self, owner: Principal) -> CurrentPreferences:
        """The account's preferences.

        Raises:
            Unauthenticated: the account is gone, or the token has been ended.
        """
        row = await self._reads.preferences(owner)
        if row is None:
            raise Unauthenticated
        return CurrentPreferences(**row)

    async def update(self, owner: Principal, changes: Mapping[str, Any]) -> CurrentPreferences:
        """Change what is given of `CurrentPreferences`, and move what is still to come accordingly.

        Raises:
            Unauthenticated: the account is gone, or the token has been ended.
        """
        if not changes:
            return await self.get(owner)
        now = await self._accounts.begin_change(owner)
        account = await self._accounts.get(owner)
        if now is None or account is None:
            raise Unauthenticated
        preferences, _ = await self._preferences.with_timezone(owner.id)

        def current() -> CurrentPreferences:
            return CurrentPreferences(
                default_reminders=list(preferences.default_reminders),
                inbox=preferences.inbox,
                email=preferences.email,
                webhook=preferences.webhook,
                quiet_start=preferences.quiet_start,
                quiet_end=preferences.quiet_end,
                timezone=account.timezone,
                email_verified_at=account.email_verified_at,
            )

        before = current()
        for field, value in changes.items():
            setattr(account if field == "timezone" else preferences, field, value)
        await self._preferences.save(preferences)
        await self._accounts.save(account)
        after = current()
        if _times(before) != _times(after):
            defaults_changed = before.default_reminders != after.default_reminders
            await self._reminders.replan_account(owner.id, now, defaults_changed=defaults_changed)
        return after


def _times(preferences: CurrentPreferences) -> tuple[object, ...]:
    """What decides when reminders are due; the channels are only asked once they are."""
    return preferences.default_reminders, preferences.quiet_start, preferences.quiet_end, preferences.timezone


@dataclass(frozen=True, slots=True)
class NotificationPage:
    """Rows with a notification's columns, and the cursor of the next page if there is one."""

    rows: list[asyncpg.Record]
    next_cursor: str | None


class InboxBrowser:
    """What an account was told, and what of it was read."""

    def __init__(self, reads: InboxReads, marks: InboxMarks) -> None:
        self._reads = reads
        self._marks = marks

    async def page(self, owner: Principal, *, limit: int, cursor: str | None, unread: bool) -> NotificationPage:
        """One page, the newest first.

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
        """Mark one as read. One that is read already keeps its first time.

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
        """Mark all as read, or all up to a number; how many were not.

        Raises:
            Unauthenticated: the account is gone, or the token has been ended.
        """
        marked = await self._marks.all(owner, LARGEST_SEQ if up_to is None else up_to)
        if marked is None:
            raise Unauthenticated
        return marked


def _seq(place: Place) -> int:
    # The digest keeps queries apart, not forgers out: what a cursor holds is checked as any other input.
    key = place.key if isinstance(place.key, str) else ""
    if not (key.isascii() and key.isdigit() and len(key) <= 19 and int(key) <= LARGEST_SEQ):
        raise Invalid(Fault("cursor", "cursor"))
    return int(key)
