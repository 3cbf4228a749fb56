"""Password hashes: bcrypt, on separate threads, so that hashing delays no other request."""

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ClassVar, TypeVar

import bcrypt

from todo_core.accounts.turns import Asker, Turns
from todo_core.settings import PasswordSettings

MINIMUM_LENGTH = 10
MAXIMUM_LENGTH = 128

_T = TypeVar("_T")


class PasswordHasher:
    """Makes and checks hashes at the configured cost.

    bcrypt reads 72 bytes and this product takes 128 characters, so what bcrypt sees is the base64 of an HMAC-SHA-256
    of the password (44 bytes): every character counts. The HMAC's fixed key separates these digests from plain SHA-256
    sums, so that hashes leaked elsewhere cannot be tried here as they are. Unicode is brought to NFC first (RFC 8265,
    section 4.2): the same letters typed on another device are the same password.
    """

    _DOMAIN: ClassVar[bytes] = b"todo/password/v1"

    def __init__(self, settings: PasswordSettings) -> None:
        self._cost = settings.bcrypt_cost
        self._turns = Turns(settings)
        self._threads = ThreadPoolExecutor(settings.threads, "password", initializer=_yield_to_the_event_loop)
        self._decoy = bcrypt.hashpw(self._digest(secrets.token_urlsafe()), bcrypt.gensalt(self._cost))

    async def hash(self, password: str, asker: Asker) -> str:
        """The hash to store.

        Raises:
            Unavailable: it had no turn (see `Turns.take`).
        """
        return await self._run(
            asker, lambda: bcrypt.hashpw(self._digest(password), bcrypt.gensalt(self._cost)).decode("ascii")
        )

    async def verify(self, password: str, password_hash: str | None, asker: Asker) -> bool:
        """Tell whether the password matches the hash. `None` (no such account) takes as long, and is false.

        Raises:
            Unavailable: it had no turn (see `Turns.take`).
        """
        stored = self._decoy if password_hash is None else password_hash.encode("ascii")
        matches = await self._run(asker, lambda: bcrypt.checkpw(self._digest(password), stored))
        return matches and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made at another cost than today's."""
        return password_hash.split("$")[2] != f"{self._cost:02}"

    async def _run(self, asker: Asker, work: Callable[[], _T]) -> _T:
        await self._turns.take(asker)
        job = self._threads.submit(work)
        # A request that ends early leaves its thread at work: the turn ends with the work, not with the request.
        loop = asyncio.get_running_loop()
        job.add_done_callback(lambda _: _in_loop(loop, self._turns.give_back))
        return await asyncio.wrap_future(job)

    def _digest(self, password: str) -> bytes:
        normal = unicodedata.normalize("NFC", password).encode()
        return base64.b64encode(hmac.digest(self._DOMAIN, normal, hashlib.sha256))

    def close(self) -> None:
        """Wait for what is being hashed, drop what waits."""
        self._threads.shutdown(cancel_futures=True)


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the process has ended meanwhile, and its loop with it
        loop.call_soon_threadsafe(call)


def _yield_to_the_event_loop() -> None:
    # bcrypt releases the GIL but not the core; on few cores the loop's thread must win. Linux sets niceness by thread.
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
