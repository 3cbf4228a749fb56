"""Whatever a process keeps has a bound: every container that objects of ours hold is found, and has its bound named."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections import OrderedDict, deque
from collections.abc import Iterator
from enum import Enum
from functools import _lru_cache_wrapper
from types import ModuleType
from typing import Any

import pytest
from cachetools import Cache
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

import todo_api
import todo_core
import todo_worker
from tests.conftest import make_settings
from tests.worker_kit import Told
from todo_api.dependencies import Process
from todo_api.metrics import Metrics as ApiMetrics
from todo_worker.assembly import assemble
from todo_worker.metrics import Metrics as WorkerMetrics

BOUNDS = {
    "AccessTokens._verified": "REMEMBERED_TOKENS entries of a digest, a number and a principal (test_tokens.py)",
    "Batches._waiting": "deliveries under way: WORKER_SLOTS",
    "ConcurrencyLimits._answering": "_MOST_REMEMBERED endpoints",
    "ConcurrencyLimits._endpoints": "deliveries under way: WORKER_SLOTS",
    "ConcurrencyLimits._limits": "channels",
    "ConcurrencyLimits._silent": "10,000 endpoints, and those that are left alone at the moment",
    "ConcurrencyLimits._used": "channels",
    "ConcurrencyLimits.separate": "channels",
    "KeyRing._keys": "TOKEN_KEYS",
    "Limits.refusals": "limits",
    "Mailer._idle": "EMAIL_CONNECTIONS",
    "Metrics._children": "routes x methods that the parser knows x statuses",
    "Metrics._line": "states of a delivery",
    "Metrics._published": "places that a page is read from",
    "OutcomeWriter._waiting": "deliveries that were leased, and a lease needs the database that settles them",
    "Parts.channels": "channels",
    "Sender._channels": "channels",
    "Sender._tasks": "deliveries under way: WORKER_SLOTS",
    "StatementPool._idle": "DATABASE_STATEMENT_POOL_SIZE",
    "StatementPool._open": "DATABASE_STATEMENT_POOL_SIZE",
    "StatementPool._server_settings": "PostgreSQL's settings of a connection",
    "StreamRegistry._open": "STREAM_MOST, and STREAM_PER_ACCOUNT for each account",
    "Turns._asked": "_REMEMBERED_KEYS",
    "Turns._waiting": "PASSWORD_QUEUE",
    "TodoLists.read_from": "places that a page is read from",
}
"""What bounds each container that grows, where the container itself has no bound. A new one belongs in here.

`LRUCache` has its own: in bytes, with what it keeps beside a page counted in (todo_api/cache.py).
"""

_CONTAINERS = (dict, list, set, deque, asyncio.Queue, Cache)


def package_of(thing: object) -> str:
    return type(thing).__module__.partition(".")[0]


OURS = {"todo_core", "todo_api", "todo_worker"}
WALKED = OURS | {"limits"}
"""What may lead to an object of ours: the library `limits` holds a storage that we wrote."""


def attributes(thing: object) -> dict[str, Any]:
    """What an object holds, in its dictionary or its slots."""
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)} | dict(getattr(thing, "__dict__", {}))


def has_own_bound(container: object) -> bool:
    """Whether it lets go of something once it is full."""
    if isinstance(container, deque):
        return container.maxlen is not None
    if isinstance(container, asyncio.Queue):
        return container.maxsize > 0
    return isinstance(container, Cache)


def growing(roots: list[object]) -> Iterator[str]:
    """The containers without a bound of their own that objects of ours hold, as `Class.attribute`."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, BaseModel):  # settings: full once they are read
            continue
        for name, value in attributes(thing).items():
            if package_of(thing) in OURS and isinstance(value, _CONTAINERS) and not has_own_bound(value):
                yield f"{type(thing).__name__}.{name}"
            inside = (
                value if isinstance(value, list | tuple | set) else value.values() if isinstance(value, dict) else ()
            )
            waiting += [part for part in (value, *inside) if package_of(part) in WALKED]


def modules() -> Iterator[ModuleType]:
    """All of ours, migrations aside."""
    for package in (todo_core, todo_api, todo_worker):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in found.name and not found.name.startswith("todo_worker.app"):
                yield importlib.import_module(found.name)


def members(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What a module and its classes hold."""
    for name, value in vars(module).items():
        yield f"{module.__name__}.{name}", value
        if isinstance(value, type) and value.__module__ == module.__name__ and not issubclass(value, BaseModel | Enum):
            for attribute, held in vars(value).items():
                yield f"{module.__name__}.{name}.{attribute}", held


SHARED = {
    "todo_api.messages.Problem._field_defaults": "of a NamedTuple: none",
    "todo_core.redis_client._Tcp._under_way": "one look-up for each Redis of a process",
}
"""The same for what modules and classes hold."""


async def test_whatever_an_object_of_ours_keeps_has_a_bound() -> None:
    settings = make_settings("postgresql://nobody@127.0.0.1:1/nothing")
    process = Process.start(settings)
    parts = assemble(settings, WorkerMetrics(CollectorRegistry()), Told())
    try:
        found = set(growing([process, parts, ApiMetrics(CollectorRegistry())]))
    finally:
        await parts.close()
        await process.close()
    assert found == BOUNDS.keys()


def test_what_functions_remember_has_a_bound() -> None:
    remembering = {
        name: held for module in modules() for name, held in members(module) if isinstance(held, _lru_cache_wrapper)
    }
    assert remembering
    assert [name for name, held in remembering.items() if held.cache_parameters()["maxsize"] is None] == []


def test_no_module_keeps_what_grows() -> None:
    """A constant is full when it is imported; what is empty then waits to be filled."""
    empty = {
        name
        for module in modules()
        for name, held in members(module)
        if isinstance(held, dict | list | set | deque | asyncio.Queue | OrderedDict)
        and not held
        and not has_own_bound(held)
        and not name.rpartition(".")[2].startswith("__")
    }
    assert empty == SHARED.keys()


@pytest.mark.parametrize("unbounded", [{}, [], set(), deque(), OrderedDict(), asyncio.Queue()])
def test_a_container_that_somebody_adds_is_found(unbounded: object) -> None:
    class New:
        def __init__(self) -> None:
            self.kept = unbounded

    New.__module__ = "todo_api.new"
    assert list(growing([New()])) == ["New.kept"]
    assert not has_own_bound(unbounded)
