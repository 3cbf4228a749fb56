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
    """How an account is reminded, as it is now."""

    default_reminders: list[str]
    inbox: bool
    email: bool
    webhook: bool
    quiet_start: time | None
    quiet_end: time | None
    timezone: str
    email_verified_at: datetime | None


class Replan(Protocol):
    """Moves an account's reminders that are still to come. `ReminderService.replan_account` is one."""

    async def __call__(self, owner_id: UUID, now: datetime, *, defaults_changed: bool) -> None:
        """`now`: the instant of the change. `defaults_changed`: todos without reminders of their own get others."""


class PreferencesService:
    """Changes are made under the account's lock, and its reminders move in the same transaction.

    This is the one place that decides whether they move: accounts change their time zone here as well.
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
        if changes.keys() != {"timezone"}:
            await self._preferences.save(preferences)
        await self._accounts.save(account)
        after = current()
        if _times(before) != _times(after):
            defaults_changed = before.default_reminders != after.default_reminders
            await self._replan(owner.id, now, defaults_changed=defaults_changed)
        return after

    async def unsubscribe(self, link: Unsubscription) -> None:
        """Send the account no more e-mail. A second time changes nothing.

        If it has another address by now, or is gone, nothing goes to that of the link anyway.
        """
        account = await self._accounts.lock_by_id(link.account_id)
        if account is None or address_digest(account.email) != link.address:
            return
        preferences, _ = await self._preferences.with_timezone(account.id)
        preferences.email = False
        await self._preferences.save(preferences)


def _times(preferences: CurrentPreferences) -> tuple[object, ...]:
    """What decides when reminders are due; the channels are only asked once they are."""
    return preferences.default_reminders, preferences.quiet_start, preferences.quiet_end, preferences.timezone
