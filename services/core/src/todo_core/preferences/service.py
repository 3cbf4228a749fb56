"""The rules of preferences."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Protocol
from uuid import UUID

from todo_core.accounts.links import Unsubscription, address_digest
from todo_core.accounts.repository import AccountRepository
from todo_core.accounts.tokens import Principal
from todo_core.errors import Unauthenticated
from todo_core.preferences.repository import PreferencesReads, PreferencesRepository

MOST_DEFAULTS = 10


@dataclass(frozen=True, slots=True)
class CurrentPreferences:
    """The current preferences of an account."""

    default_reminders: list[str]
    inbox: bool
    email: bool
    webhook: bool
    quiet_start: time | None
    quiet_end: time | None
    timezone: str
    email_verified_at: datetime | None


class Replan(Protocol):
    """A function that moves an account's future reminders, as `ReminderService.replan_account` does."""

    async def __call__(self, owner_id: UUID, now: datetime, *, defaults_changed: bool) -> None:
        """Move the reminders, at the instant `now`; with `defaults_changed`, replace those that follow the defaults."""


class PreferencesService:
    """Changes preferences under the account's lock, and moves its reminders in the same transaction.

    Only this class decides whether they move: the time zone of an account changes here as well.
    """

    def __init__(
        self,
        accounts: AccountRepository,
        preferences: PreferencesRepository,
        reads: PreferencesReads,
        *,
        replan: Replan,
    ) -> None:
        self._accounts = accounts
        self._preferences = preferences
        self._reads = reads
        self._replan = replan

    async def get(self, owner: Principal) -> CurrentPreferences:
        """Return the account's preferences.

        Raises:
            Unauthenticated: the account is gone, or the token has been ended.
        """
        row = await self._reads.preferences(owner)
        if row is None:
            raise Unauthenticated
        return CurrentPreferences(**row)

    async def update(self, owner: Principal, changes: Mapping[str, Any]) -> CurrentPreferences:
        """Change the given fields of `CurrentPreferences`, and move future reminders accordingly.

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
        if changes.keys() != {"timezone"}:
            await self._preferences.save(preferences)
        await self._accounts.save(account)
        after = current()
        if _times(before) != _times(after):
            defaults_changed = before.default_reminders != after.default_reminders
            await self._replan(owner.id, now, defaults_changed=defaults_changed)
        return after

    async def unsubscribe(self, link: Unsubscription) -> None:
        """Switch the account's e-mail channel off. A repeat changes nothing.

        If the account has another address by now, or is gone, no mail goes to the link's address anyway.
        """
        account = await self._accounts.lock_by_id(link.account_id)
        if account is None or address_digest(account.email) != link.address:
            return
        preferences, _ = await self._preferences.with_timezone(account.id)
        preferences.email = False
        await self._preferences.save(preferences)


def _times(preferences: CurrentPreferences) -> tuple[object, ...]:
    """Return the fields that decide when reminders are due; channels matter only after that."""
    return preferences.default_reminders, preferences.quiet_start, preferences.quiet_end, preferences.timezone
