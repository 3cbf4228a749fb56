"""Hearing of it when the process is asked to stop.

A server waits for open responses before it tells the application (lifespan shutdown), and a stream never ends by
itself. So the signals are listened to as well: the server's own handler runs after ours, whichever server it is.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_Handler = Callable[[int, FrameType | None], object]
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def announced(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` in the running event loop when the process is asked to stop, while the block lasts."""
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[int, _Handler] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell)
        before[number](number, frame)

    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):  # otherwise nothing is under way: the signal ends the process
            before[number] = handler
            signal.signal(number, handle)
    try:
        yield
    finally:
        for installed, handler in before.items():
            if signal.getsignal(installed) is handle:
                signal.signal(installed, handler)
