"""The read-through cache of todo lists, and the one place where they are encoded.

A cached page is never stale, whatever becomes of Redis, because Redis is not asked whether it is current. Every change
of an account's todos writes a new `list_version` to its row, in the same transaction, and a page is kept with the
version that it was read at, by the same statement. Who finds a page asks PostgreSQL for the version of now, one look-up
by primary key: the page counts if they are the same. A write that is lost, a Redis that restarts with old data, a
writer that cannot reach Redis: none of them matters. See docs/decisions/0004-list-cache.md.

As a page of one version never changes, each process also keeps the last ones it sent: a few megabytes that save the way
to Redis. Nobody waits for Redis to be written: one task writes what has gathered meanwhile, in one go.
"""

import asyncio
import hashlib
from typing import Any

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

_Kept = tuple[str, bytes]
"""A page, after the version that it was read at."""
_UNWRITTEN_BYTES = 8 * 1024 * 1024
_ENTRY_BYTES = 512
"""What the cache keeps beside a page: its key and its places in three dictionaries. An empty page has 32 bytes."""


def _size(kept: _Kept) -> int:
    return len(kept[1]) + _ENTRY_BYTES


def _unwritten() -> LRUCache[str, _Kept]:
    return LRUCache(_UNWRITTEN_BYTES, getsizeof=_size)


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
        self._sent: LRUCache[str, _Kept] = LRUCache(settings.local_bytes, getsizeof=_size)
        self._unwritten = _unwritten()
        self._writing: asyncio.Task[None] | None = None
        self.read_from = {"process": 0, "redis": 0, "postgresql": 0}
        """How many pages have come from where."""

    async def page(self, owner: Principal, query: ListQuery, cursor: str | None) -> bytes:
        """One page of the owner's todos.

        Raises:
            Invalid: the cursor is not one of this query.
            Unauthenticated: the account is gone, or the token has been ended.
        """
        if not self._enabled:
            return (await self._read(owner, query, cursor))[1]
        key = self._key(owner, query, cursor)
        kept, source = self._sent.get(key), "process"
        version = None if kept is None else await self._version(owner)
        if kept is None or kept[0] != version:
            kept, source = await self._from_redis(key), "redis"
            if kept is not None and version is None:
                version = await self._version(owner)
        if kept is None or kept[0] != version:
            kept = await self._read(owner, query, cursor)
            self._write(key, kept)
        else:
            self.read_from[source] += 1
        if _size(kept) <= self._sent.maxsize:
            self._sent[key] = kept
        return kept[1]

    async def written(self) -> None:
        """Return once Redis has been sent all that was read until now."""
        if self._writing is not None:
            await self._writing

    async def _version(self, owner: Principal) -> str:
        version = await self._accounts.list_version(owner)
        if version is None:
            raise Unauthenticated
        return version

    async def _read(self, owner: Principal, query: ListQuery, cursor: str | None) -> _Kept:
        page = await self._browser.page(owner, query, cursor)
        self.read_from["postgresql"] += 1
        return page.version, encode_page(page)

    async def _from_redis(self, key: str) -> _Kept | None:
        value: bytes | None = await self._redis.attempt(lambda redis: redis.get(key))
        if value is None:
            return None
        version, _, page = value.partition(b" ")
        return version.decode("ascii", "replace"), page

    def _write(self, key: str, kept: _Kept) -> None:
        if _size(kept) <= self._unwritten.maxsize:
            self._unwritten[key] = kept  # where Redis is slower than we read, the oldest are not written
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._unwritten:
            batch, self._unwritten = self._unwritten, _unwritten()

            async def send(redis: Any, batch: LRUCache[str, _Kept] = batch) -> None:
                pipeline = redis.pipeline(transaction=False)
                for key, (version, page) in batch.items():
                    pipeline.set(key, b"%b %b" % (version.encode("ascii"), page), ex=self._ttl)
                await pipeline.execute()

            await self._redis.attempt(send)

    def _key(self, owner: Principal, query: ListQuery, cursor: str | None) -> str:
        # The columns belong to it: while a release that adds one is rolled out, old and new processes share Redis.
        question = f"{COLUMNS}|{query.canonical}|{query.limit}|{cursor}"
        digest = hashlib.blake2s(question.encode("utf-8", "replace"), digest_size=16).hexdigest()
        return f"{self._redis.key_prefix}:list:{owner.id}:{digest}"
