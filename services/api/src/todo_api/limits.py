"""How often one may try: wrong passwords, new accounts, and mails to addresses that are not proven.

The moving windows are the `limits` library's, in Redis for all processes together. While Redis is away, each process
counts for itself, in bounded memory.
"""

import math
import time
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import ClassVar

from cachetools import LRUCache
from fastapi import Request
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MovingWindowSupport, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from todo_api.circuit_breaker import RedisCircuitBreaker
from todo_api.problems import TooManyRequests
from todo_core.accounts.verification import MailLimits, TooManyMails
from todo_core.settings import RateLimitSettings

_DAY = 86_400


def network_of(request: Request) -> str:
    """What a client is counted by: its IPv4 address, or the /64 of its IPv6 address, which one household has whole.

    Behind a proxy, it is the address that FORWARDED_ALLOW_IPS lets the proxy name.
    """
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


@dataclass(frozen=True, slots=True)
class _Window:
    """One limit: its name in metrics and keys, and how many in how many seconds."""

    name: str
    item: RateLimitItem

    @classmethod
    def of(cls, name: str, amount: int, seconds: int) -> "_Window":
        return cls(name, RateLimitItemPerSecond(amount, seconds, namespace=name))


class Limits:
    """Every count that Redis keeps. Each method raises where the limit is reached."""

    def __init__(self, redis: RedisCircuitBreaker, settings: RateLimitSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._shared = MovingWindowRateLimiter(
            RedisStorage(
                "redis://",  # not used: the connections are ours
                implementation="redispy",
                key_prefix=f"{redis.key_prefix}:limit",
                connection_pool=redis.pool,  # type: ignore[arg-type] # documented, and typed too narrowly
            )
        )
        self._own = MovingWindowRateLimiter(BoundedMemory())
        seconds = settings.sign_in_window_seconds
        self._pair = _Window.of("guesses_pair", settings.sign_in_failures, seconds)
        self._account = _Window.of("guesses_account", settings.account_failures, seconds)
        self._network = _Window.of("guesses_network", settings.network_failures, seconds)
        self._right = _Window.of("passwords_right", settings.password_checks, seconds)
        self._registrations = _Window.of("registrations", settings.registrations, settings.registration_window_seconds)
        self._mails_network = _Window.of("mails_network", settings.mails_network, _DAY)
        self._mails_all = _Window.of("mails_all", settings.mails_all, _DAY)
        self.refusals: Counter[str] = Counter()
        """How often each limit has refused, for the metrics."""

    async def admit(self, network: str, subject: str) -> bool:
        """Call before a password is checked. Whether the account has signed in from this network before.

        Raises:
            TooManyRequests: too many were wrong, or right.
        """
        if not self._settings.enabled:
            return False
        known = bool(await self._redis.attempt(lambda redis: redis.exists(self._known_key(network, subject))))
        for window, key in [*self._guesses(network, subject, known=known), (self._right, f"{subject}/{network}")]:
            if not await self._test(window, key):
                raise TooManyRequests(retry_after=await self._refuse(window, key))
        return known

    async def failed(self, network: str, subject: str, *, known: bool) -> None:
        """Call when a password was wrong.

        Raises:
            TooManyRequests: others that were tried at once have used up the limit; nothing is told about this one.
        """
        if not self._settings.enabled:
            return
        full = [
            (window, key)
            for window, key in self._guesses(network, subject, known=known)
            if not await self._hit(window, key)
        ]
        if full:
            raise TooManyRequests(retry_after=await self._refuse(*full[0]))

    async def succeeded(self, network: str, subject: str) -> None:
        """Call when a password was right.

        Raises:
            TooManyRequests: others that were tried at once have used up the limit: it may be one of many guesses.
        """
        if not self._settings.enabled:
            return
        await self.admit(network, subject)
        pair = f"{subject}/{network}"
        if not await self._hit(self._right, pair):
            raise TooManyRequests(retry_after=await self._refuse(self._right, pair))
        key, seconds = self._known_key(network, subject), self._settings.known_seconds
        await self._redis.attempt(lambda redis: redis.set(key, b"", ex=seconds))

    async def note_registration(self, network: str) -> None:
        """Call before an account is opened.

        Raises:
            TooManyRequests: this network has opened too many.
        """
        if self._settings.enabled and not await self._hit(self._registrations, network):
            raise TooManyRequests(retry_after=await self._refuse(self._registrations, network))

    async def note_mail(self, network: str) -> None:
        """Call before a mail to an address that is not proven is asked for.

        Raises:
            TooManyMails: this network, or everybody together, has asked for too many.
        """
        if not self._settings.enabled:
            return
        for window, key in ((self._mails_network, network), (self._mails_all, "all")):
            if not await self._hit(window, key):
                raise TooManyMails(retry_after=await self._refuse(window, key))

    def _guesses(self, network: str, subject: str, *, known: bool) -> list[tuple[_Window, str]]:
        pair = (self._pair, f"{subject}/{network}")
        return [pair] if known else [pair, (self._account, subject), (self._network, network)]

    async def _test(self, window: _Window, key: str) -> bool:
        shared = await self._redis.attempt(lambda _: self._shared.test(window.item, key))
        return await self._own.test(window.item, key) if shared is None else shared

    async def _hit(self, window: _Window, key: str) -> bool:
        shared = await self._redis.attempt(lambda _: self._shared.hit(window.item, key))
        return await self._own.hit(window.item, key) if shared is None else shared

    async def _refuse(self, window: _Window, key: str) -> int:
        """Count a refusal; in how many seconds another try makes sense."""
        self.refusals[window.name] += 1
        stats = await self._redis.attempt(lambda _: self._shared.get_window_stats(window.item, key))
        stats = stats or await self._own.get_window_stats(window.item, key)
        return min(max(1, math.ceil(stats.reset_time - time.time())), window.item.get_expiry())

    def _known_key(self, network: str, subject: str) -> str:
        return f"{self._redis.key_prefix}:known:{subject}/{network}"


class MailAllowance(MailLimits):
    """What mails one request may ask for."""

    def __init__(self, limits: Limits, settings: RateLimitSettings, network: str) -> None:
        super().__init__(settings.mails_account, settings.mail_pause_seconds)
        self._limits = limits
        self._network = network

    async def take(self) -> None:
        """Count one mail of this network."""
        await self._limits.note_mail(self._network)

    def refused(self, limit: str) -> None:
        """Note for the metrics which limit was reached."""
        self._limits.refusals[limit] += 1


class BoundedMemory(Storage, MovingWindowSupport):
    """Moving windows in this process. The library's own storage of this kind keeps any number of keys."""

    KEYS: ClassVar[int] = 10_000
    """Beyond, the least recently used are forgotten. A key holds as many times as its limit allows."""

    def __init__(self) -> None:
        super().__init__()
        self._hits: LRUCache[str, list[float]] = LRUCache(self.KEYS)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note that it happened now, unless it happened `limit` times within `expiry` seconds."""
        hits = self._recent(key, expiry)
        if len(hits) + amount > limit:
            return False
        self._hits[key] = [*hits, *[time.time()] * amount]
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002 - theirs
        """The oldest time that counts, and how many do."""
        hits = self._recent(key, expiry)
        return (hits[0], len(hits)) if hits else (time.time(), 0)

    def _recent(self, key: str, expiry: int) -> list[float]:
        since = time.time() - expiry
        return [at for at in self._hits.get(key, ()) if at >= since]

    @property
    def base_exceptions(self) -> type[Exception]:
        """What this storage raises of its own: nothing."""
        return ValueError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Not for moving windows."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Not for moving windows."""
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        """Not for moving windows."""
        raise NotImplementedError

    async def check(self) -> bool:
        """Whether the storage answers."""
        return True

    async def reset(self) -> int | None:
        """Forget everything; how many keys there were."""
        count = len(self._hits)
        self._hits.clear()
        return count

    async def clear(self, key: str) -> None:
        """Forget one key."""
        self._hits.pop(key, None)
