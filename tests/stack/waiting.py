"""Waits for conditions, within a time limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def until(check: Callable[[], Awaitable[T]], seconds: float, what: str) -> T: ...
@overload
async def until(check: Callable[[], T], seconds: float, what: str) -> T: ...
async def until(check: Callable[[], Any], seconds: float, what: str) -> Any:
    """Call `check` repeatedly, and return the first true result.

    Raises:
        AssertionError: there was no true result in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        answer = await found if isinstance(found, Awaitable) else found
        if answer:
            return answer
        assert time.monotonic() < deadline, f"Not within {seconds:g} seconds: {what}"
        await asyncio.sleep(0.05)
