"""Finds why a receiver got the same id twice: a recorded fault that could have caused this repeat, or none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from tests.chaos.faults import Window
from tests.chaos.options import PATIENCE_SECONDS, SEND_SECONDS, SETTLE_SECONDS
from tests.chaos.receivers import Receipt

_CLOCKS = 0.5
"""Seconds within which a receiver may still read data sent before its sender was stopped or killed."""
_ENOUGH = 0.75
"""The part of the send limit that a sender waits for an answer at least (2.5 s of 3 for SMTP)."""
_TIMED_OUT = ("timed out", "the mail server did not answer in time")


def time_outs(logs: Iterable[Path]) -> dict[str, list[float]]:
    """Return the times of the time-outs in the workers' logs, by delivery."""
    found: dict[str, list[float]] = {}
    for log in logs:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            # A line may be cut where a process was killed while it wrote.
            if '"delivery_failed"' in line and line.endswith("}"):
                entry = json.loads(line)
                if entry.get("reason") in _TIMED_OUT:
                    found.setdefault(entry["delivery"], []).append(
                        datetime.fromisoformat(entry["timestamp"]).timestamp()
                    )
    return found


def defects(logs: Iterable[Path]) -> list[str]:
    """Return the log lines with a traceback: outages are logged without one, so these are defects."""
    libraries = ('"logger":"celery', '"logger":"kombu')
    return [
        f"{log.name}: {line[:200]} ... {line[-400:]}"
        for log in sorted(logs)
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if '"exception"' in line and not any(library in line for library in libraries)
    ]


class Attribution:
    """Looks for a cause between the first answer and its settlement; later faults explain no repeat."""

    def __init__(self, windows: Sequence[Window], timed_out: dict[str, list[float]]) -> None:
        self._outages = [window for window in windows if window.kind == "kill PostgreSQL"]
        self._kills = [window for window in windows if window.pids and window.kind.startswith("kill")]
        self._stops = [window for window in windows if window.pids and window.kind.startswith("stop")]
        self._timed_out = timed_out

    def repeats(self, receipts: Sequence[Receipt]) -> list[tuple[Receipt, Receipt, str | None]]:
        """Return every two successive receipts of one id, with the cause of the second."""
        ordered = sorted(receipts, key=lambda receipt: receipt.at)
        return [(first, second, self.cause(first, second)) for first, second in itertools.pairwise(ordered)]

    def cause(self, first: Receipt, second: Receipt) -> str | None:
        """Return the cause of the second receipt after the first."""
        # Two at once is never caused by the receiver: a sender retries after an answer, or after its time limit.
        tried_again = first.at + _ENOUGH * SEND_SECONDS if first.answer == "stalled" else first.ended
        if first.answer in ("refused", "dropped", "stalled") and second.at >= tried_again:
            return f"receiver {first.answer}"
        settled = first.ended + SETTLE_SECONDS
        hit = self._met([*self._kills, *self._stops], first, second, settled) or self._came_late(first, second)
        if hit:
            return hit
        for outage in self._outages:
            if first.at - _CLOCKS < outage.ended + PATIENCE_SECONDS and outage.began < min(settled, second.at):
                return outage.kind
        latest = min(first.at + SEND_SECONDS + SETTLE_SECONDS, second.at + _CLOCKS)
        waited = first.answer == "hung up" and first.ended - first.at > _ENOUGH * SEND_SECONDS
        # On a busy machine the receiver reads a request after its sender has given it up and hung up.
        earliest = first.at - (SEND_SECONDS if first.answer == "hung up" else 0)
        if waited or any(earliest < at < latest for at in self._timed_out.get(first.id, ())):
            return "time-out of the sender"
        return None

    def was_stopped(self, receipt: Receipt, since: float) -> bool:
        """Tell whether the sender was stopped between `since` and this receipt, and so had old data."""
        return any(
            window.began < receipt.at and window.ended > since and (receipt.pid in window.pids or receipt.pid is None)
            for window in self._stops
        )

    def _came_late(self, first: Receipt, second: Receipt) -> str | None:
        """Return the cause if the second sender had the earlier lease and was stopped between its check and its send.

        No fence can prevent that send. Attempts that it had not begun it must not begin afterwards.
        """
        for window in self._stops:
            on_its_way = abs(second.at - window.ended) < _CLOCKS
            if second.pid in window.pids and window.began < first.ended and on_its_way:
                return f"{window.kind}, which then came late"
        return None

    @staticmethod
    def _met(windows: Sequence[Window], first: Receipt, second: Receipt, settled: float) -> str | None:
        """Return a fault of the sending process that lies before its settlement and before the repeat.

        If the process died before its connection was looked up, it is unknown: then a fault of any process at that
        moment counts. (If a worker's parent was killed, that fault lasts until its last child is gone.)
        """
        for window in windows:
            if first.pid is None:
                if window.began - _CLOCKS < first.at < window.ended + _CLOCKS:
                    return window.kind
            elif (
                first.pid in window.pids
                and first.at - _CLOCKS < window.ended
                and window.began < min(settled, second.at)
            ):
                return window.kind
        return None
