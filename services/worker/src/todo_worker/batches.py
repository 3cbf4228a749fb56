"""Batches: items that arrive while one statement runs are answered by the next one together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Batches(Generic[_Item, _Answer]):
    """Collects items for a function that answers many at once, in their order. Belongs to one event loop."""

    def __init__(
        self, answer: Callable[[Sequence[_Item]], Awaitable[Sequence[_Answer]]], *, most: int, seconds: float
    ) -> None:
        self._answer = answer
        self._most = most
        self._seconds = seconds
        self._waiting: list[tuple[_Item, asyncio.Future[_Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: _Item) -> _Answer:
        """Return the answer for one item.

        Raises:
            TimeoutError: the function did not answer in its time.
            Exception: whatever it raised.
        """
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Cancel the running batch."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            batch = [(item, future) for item, future in taken if not future.done()]  # the others were cancelled
            if batch:
                await self._settle(batch)

    async def _settle(self, batch: list[tuple[_Item, asyncio.Future[_Answer]]]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                answers = await self._answer([item for item, _ in batch])
        except Exception as error:  # raised to the callers
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
