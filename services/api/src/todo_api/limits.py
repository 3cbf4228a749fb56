"""How often one address may try: passwords on a name, and new accounts.

Counted in Redis, for all processes together. Without Redis nobody is locked out, and each try still costs the quarter
of a second that bcrypt takes.
"""

import hashlib

from redis.asyncio import Redis

from todo_api.circuit_breaker import RedisCircuitBreaker
from todo_api.problems import TooManyRequests
from todo_core.accounts.service import login_key
from todo_core.settings import RateLimitSettings

_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
"""


class AttemptLimits:
    """Fixed windows: a key that lives as long as the window counts what happens in it."""

    def __init__(self, redis: RedisCircuitBreaker, settings: RateLimitSettings) -> None:
        self._redis = redis
        self._settings = settings

    async def check_sign_in(self, address: str, login: str) -> None:
        """Call before a password is checked, and once more when it was right: it may be one of many tried at once.

        Raises:
            TooManyRequests: this address has failed too often on this name.
        """
        if not self._settings.enabled:
            return
        key = self._sign_in_key(address, login)
        count, seconds = await self._redis.attempt(lambda redis: _count_and_age(redis, key)) or (0, 0)
        if count >= self._settings.sign_in_failures:
            raise TooManyRequests(retry_after=max(1, seconds))

    async def note_failed_sign_in(self, address: str, login: str) -> None:
        """Call when the password was wrong.

        Raises:
            TooManyRequests: others that were tried at once have used up the limit; nobody learns about this one.
        """
        if not self._settings.enabled:
            return
        window = self._settings.sign_in_window_seconds
        await self._count(self._sign_in_key(address, login), window, limit=self._settings.sign_in_failures)

    async def note_registration(self, address: str) -> None:
        """Call before an account is opened.

        Raises:
            TooManyRequests: this address has opened too many.
        """
        if not self._settings.enabled:
            return
        key = f"{self._redis.key_prefix}:registrations:{address}"
        await self._count(key, self._settings.registration_window_seconds, limit=self._settings.registrations)

    async def _count(self, key: str, window: int, *, limit: int) -> None:
        count = await self._redis.attempt(lambda redis: redis.eval(_COUNT, 1, key, window)) or 0
        if int(count) > limit:
            _, seconds = await self._redis.attempt(lambda redis: _count_and_age(redis, key)) or (0, window)
            raise TooManyRequests(retry_after=max(1, seconds))

    def _sign_in_key(self, address: str, login: str) -> str:
        # As accounts compare it: one name has thousands of spellings.
        name = hashlib.blake2s(login_key(login).encode("utf-8", "replace"), digest_size=16).hexdigest()
        return f"{self._redis.key_prefix}:sign-in:{address}:{name}"


async def _count_and_age(redis: Redis, key: str) -> tuple[int, int]:
    pipeline = redis.pipeline(transaction=False)
    pipeline.get(key)
    pipeline.ttl(key)
    count, seconds = await pipeline.execute()
    return int(count or 0), int(seconds)
