"""Backoff: each retry waits longer than the one before, by a random part, so that processes do not retry together."""

import asyncio
import random
from typing import Any

from todo_core.database import is_outage
from todo_core.errors import Unavailable

_FIRST = 0.05
_LONGEST = 5.0


class Backoff:
    """Computes how long to wait before the next try."""

    def __init__(self) -> None:
        self._tries = 0

    async def wait(self) -> None:
        """Sleep, longer than the time before."""
        await asyncio.sleep(self.next_seconds())

    def next_seconds(self) -> float:
        """Return the next wait in seconds."""
        longest = min(_LONGEST, _FIRST * 2 ** min(self._tries, 10))
        self._tries += 1
        return random.uniform(longest / 2, longest)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Start again at the shortest wait, after a success."""
        self._tries = 0

    @staticmethod
    def describe(error: Exception) -> dict[str, Any]:
        """Return the log fields of an error: one word for an outage, with the traceback for anything else, a defect."""
        if is_outage(error) or isinstance(error, Unavailable):
            return {"reason": type(error).__name__}
        return {"reason": type(error).__name__, "exc_info": error}
