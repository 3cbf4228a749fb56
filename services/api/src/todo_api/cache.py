"""The read-through cache of todo lists, and the one place where they are encoded.

A cached page is never stale, whatever becomes of Redis, because Redis is not asked whether it is current. Every change
of an account's todos writes a new `list_version` to its row, in the same transaction; the page's key contains it. A
read first asks PostgreSQL for the version, one look-up by primary key, and then Redis for the page of just that
version. A bump that is lost, a Redis that restarts with old data, a writer that cannot reach Redis: none of them
matters, as there is no bump. See docs/decisions/0004-list-cache.md.

As a page of one version never changes, each process also keeps the last ones it sent: a few megabytes that save the way
to Redis, a quarter of what a cached list costs.
"""

import hashlib

from cachetools import LRUCache

from todo_api.answers import encode_page
from todo_api.circuit_breaker import RedisCircuitBreaker
from todo_core.accounts.repository import AccountReads
from todo_core.accounts.tokens import Principal
from todo_core.errors import Unauthenticated
from todo_core.settings import CacheSettings
from todo_core.todos.models import COLUMNS
from todo_core.todos.queries import ListQuery
from todo_core.todos.service import TodoBrowser

_ENTRY_BYTES = 512
"""What the cache keeps beside a page: its key and its places in three dictionaries. An empty page has 32 bytes."""


def _size(page: bytes) -> int:
    return len(page) + _ENTRY_BYTES


class TodoLists:
    """Pages of todos, encoded: from Redis if it has them, else from PostgreSQL."""

    def __init__(
        self, browser: TodoBrowser, accounts: AccountReads, redis: RedisCircuitBreaker, settings: CacheSettings
    ) -> None:
        self._browser = browser
        self._accounts = accounts
        self._redis = redis
        self._enabled = settings.enabled
        self._ttl = settings.ttl_seconds
        self._sent: LRUCache[str, bytes] = LRUCache(settings.local_bytes, getsizeof=_size)
        self.read_from = {"process": 0, "redis": 0, "postgresql": 0}
        """How many pages have come from where."""

    async def page(self, owner: Principal, query: ListQuery, cursor: str | None) -> bytes:
        """One page of the owner's todos.

        Raises:
            Invalid: the cursor is not one of this query.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        if not self._enabled:
            return await self._read(owner, query, cursor)
        # Before the page is read: a page newer than its key says is as good, an older one would be stale.
        version = await self._accounts.list_version(owner)
        if version is None:
            raise Unauthenticated
        key = self._key(owner, version, query, cursor)
        page = self._sent.get(key)
        if page is not None:
            self.read_from["process"] += 1
            return page
        page = await self._redis.attempt(lambda redis: redis.get(key))
        if page is None:
            fresh = page = await self._read(owner, query, cursor)
            await self._redis.attempt(lambda redis: redis.set(key, fresh, ex=self._ttl))
        else:
            self.read_from["redis"] += 1
        if _size(page) <= self._sent.maxsize:
            self._sent[key] = page
        return page

    async def _read(self, owner: Principal, query: ListQuery, cursor: str | None) -> bytes:
        self.read_from["postgresql"] += 1
        return encode_page(await self._browser.page(owner, query, cursor))

    def _key(self, owner: Principal, version: str, query: ListQuery, cursor: str | None) -> str:
        # The columns belong to it: while a release that adds one is rolled out, old and new processes share Redis.
        question = f"{COLUMNS}|{query.canonical}|{query.limit}|{cursor}"
        digest = hashlib.blake2s(question.encode("utf-8", "replace"), digest_size=16).hexdigest()
        return f"{self._redis.key_prefix}:list:{owner.id}:{version}:{digest}"
