"""Why a receiver got the same id twice: a recorded reason that could have caused just this repeat, or none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.chaos.faults import Window
from tests.chaos.ledger import Receipt
from tests.chaos.options import PATIENCE_SECONDS, SEND_SECONDS, SETTLE_SECONDS

_CLOCKS = 0.5
"""What had been sent before a process was stopped or killed may be read so much later."""
_ENOUGH = 0.75
"""The part of the time for sending that a sender waits for an answer at least (an SMTP server's has 2.5 s of 3)."""
_TIMED_OUT = ("timed out", "the mail server did not answer in time")


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A worker's own word that it waited too long for an answer."""

    id: str
    at: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """Two receipts of one id, one after the other, and why; None if nobody knows."""

    first: Receipt
    second: Receipt
    cause: str | None


def time_outs(logs: Iterable[Path]) -> list[TimedOut]:
    """What the workers' logs say of it."""
    found = []
    for log in logs:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if '"delivery_failed"' not in line:
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a process was killed while it wrote
            if entry.get("reason") in _TIMED_OUT:
                found.append(TimedOut(entry["delivery"], datetime.fromisoformat(entry["timestamp"]).timestamp()))
    return found


def defects(logs: Iterable[Path]) -> list[str]:
    """What the product itself logged with a traceback: an outage is a word to it, anything else is a defect."""
    libraries = ('"logger":"celery', '"logger":"kombu')
    return [
        f"{log.name}: {_brief(line)}"
        for log in sorted(logs)
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if '"exception"' in line and not any(library in line for library in libraries)
    ]


def _brief(line: str) -> str:
    """The event and the end of its traceback."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line[:300]
    return f"{entry['timestamp']} {entry['event']}: {entry['exception'][-300:]}"


class Attribution:
    """Looks for a cause between the first answer and its being settled; what came later excuses nothing."""

    def __init__(self, windows: Sequence[Window], timed_out: Sequence[TimedOut]) -> None:
        self._outages = [window for window in windows if window.kind == "kill PostgreSQL"]
        self._kills = [window for window in windows if window.pids and window.kind.startswith("kill")]
        self._stops = [window for window in windows if window.pids and window.kind.startswith("stop")]
        self._timed_out: dict[str, list[float]] = {}
        for each in timed_out:
            self._timed_out.setdefault(each.id, []).append(each.at)

    def repeats(self, receipts: Sequence[Receipt]) -> list[Repeat]:
        """Every repeat among one id's receipts. Each is held against the one before it."""
        ordered = sorted(receipts, key=lambda receipt: receipt.at)
        return [Repeat(first, second, self.cause(first, second)) for first, second in itertools.pairwise(ordered)]

    def cause(self, first: Receipt, second: Receipt) -> str | None:
        """Why the second came although the first had."""
        # Two at once is never the receiver's doing: a sender tries again after an answer, or when it has waited enough.
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
        if waited or any(first.at < at < latest for at in self._timed_out.get(first.id, ())):
            return "time-out of the sender"
        return None

    def was_stopped(self, receipt: Receipt, since: float) -> bool:
        """Whether the sender stood still between then and this receipt: it knew only what it had read before."""
        return any(
            window.began < receipt.at and window.ended > since and (receipt.pid in window.pids or receipt.pid is None)
            for window in self._stops
        )

    def _came_late(self, first: Receipt, second: Receipt) -> str | None:
        """The second sender had the lease before, stood still while the first sent, and was about to send when it was
        let go on: no fence can call that back. Whatever it had not begun it must not begin then."""
        for window in self._stops:
            on_its_way = abs(second.at - window.ended) < _CLOCKS
            if second.pid in window.pids and window.began < first.ended and on_its_way:
                return f"{window.kind}, which then came late"
        return None

    @staticmethod
    def _met(windows: Sequence[Window], first: Receipt, second: Receipt, settled: float) -> str | None:
        """A window in which the process that held it was hit before it can have settled, and before the repeat.

        Of a connection whose process had died before it could be looked up, that process is not known: any will do
        that was being hit at just that moment. (Of a worker whose parent was killed that lasts until its last child is
        gone.)
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
