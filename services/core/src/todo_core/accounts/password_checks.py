"""The one way to a password's hash: what is wrong counts, and every check takes its turn."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

from todo_core.accounts.passwords import PasswordHasher
from todo_core.accounts.turns import Asker


class Guesses(Protocol):
    """Counts wrong passwords. Each method raises an `AppError` where there were too many."""

    async def admit(self, network: str, subject: str) -> bool:
        """Call before a check. Whether the account has signed in from this network before."""

    async def failed(self, network: str, subject: str, *, known: bool) -> None:
        """Call when the password was wrong."""

    async def succeeded(self, network: str, subject: str) -> None:
        """Call when it was right: raises where others that were tried at once have used up the limit."""


class PasswordChecks:
    """The password checks of one request. An operation without this object can check no password."""

    def __init__(
        self, hasher: PasswordHasher, guesses: Guesses, network: str, left: Callable[[], Awaitable[object]]
    ) -> None:
        self._hasher = hasher
        self._guesses = guesses
        self._network = network
        self._left = left

    async def verify(self, subject: str, password: str, password_hash: str | None) -> bool:
        """Tell whether the password matches the hash. `None` (no such account) takes as long, and is false.

        Raises:
            Unavailable: too many wait for a check.
            AppError: too many were wrong, as `Guesses` says; nothing is told about this one.
        """
        known = await self._guesses.admit(self._network, subject)
        if await self._hasher.verify(password, password_hash, self._asker(subject, known=known)):
            await self._guesses.succeeded(self._network, subject)
            return True
        await self._guesses.failed(self._network, subject, known=known)
        return False

    async def hash(self, subject: str, password: str, *, known: bool = False) -> str:
        """The hash to store.

        Raises:
            Unavailable: too many wait for a turn.
        """
        return await self._hasher.hash(password, self._asker(subject, known=known))

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made at another cost than today's."""
        return self._hasher.is_outdated(password_hash)

    def _asker(self, subject: str, *, known: bool) -> Asker:
        return Asker(self._network, subject, known, self._left)


def account_subject(account_id: UUID) -> str:
    """Return the key that counts guesses at an account, by any of its names."""
    return f"account-{account_id.hex}"


def name_subject(login: str) -> str:
    """What guesses at a name that no account has are counted by. Takes a login key, as one name has many spellings."""
    return f"name-{hashlib.blake2s(login.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
