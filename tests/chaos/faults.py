"""Faults: drawn from the seed, carried out on real processes, and recorded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil

from dev.postgres import EmbeddedPostgres
from dev.processes import ServerError
from dev.valkey import EmbeddedValkey
from tests.chaos.fleet import Fleet, Program
from tests.chaos.options import LEASE_SECONDS

Kind = Literal[
    "kill worker group", "kill prefork child", "kill worker parent", "stop prefork child", "stop worker group",
    "ask worker to stop", "kill beat", "kill Valkey", "kill PostgreSQL",
]  # fmt: skip
ROUND: tuple[Kind, ...] = (
    "kill worker group", "kill prefork child", "kill prefork child", "stop prefork child", "stop worker group",
    "kill PostgreSQL", "kill Valkey", "kill beat", "kill worker parent", "ask worker to stop", "kill PostgreSQL",
)  # fmt: skip
"""The faults of a round, in an order that the seed draws."""
ROUND_SECONDS = 50.0
ORPHAN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A planned fault."""

    at: float
    """Seconds after the start."""
    kind: Kind
    which: int
    """The index of the target among two workers, beats or children."""
    seconds: float
    """The time that the target stays down or stopped."""


@dataclass(slots=True)
class Window:
    """A fault that happened: between these instants work may have been left half done."""

    kind: str
    began: float
    ended: float
    pids: frozenset[int]
    """The sending processes that it hit; for PostgreSQL all, for Valkey and beat none."""


def plan(draw: random.Random, until: float, bursts: list[float]) -> list[Fault]:
    """Draw the faults. A worker is stopped soon after each burst: then many deliveries are under way."""
    faults = []
    rounds = max(1, round(until / ROUND_SECONDS))
    for number in range(rounds):
        kinds = list(ROUND)
        draw.shuffle(kinds)
        length = until / rounds
        for turn, kind in enumerate(kinds):
            at = length * (number + (turn + draw.uniform(0.05, 0.95)) / len(kinds))
            faults.append(Fault(at, kind, draw.randrange(4), _seconds(draw, kind)))
    for burst in bursts:
        kind = draw.choice(("stop worker group", "stop prefork child"))
        faults.append(Fault(burst + draw.uniform(0.2, 1.5), kind, draw.randrange(4), _seconds(draw, kind)))
    return sorted((fault for fault in faults if fault.at < until), key=lambda fault: fault.at)


def _seconds(draw: random.Random, kind: Kind) -> float:
    if kind.startswith("stop"):
        # Most are resumed just when other workers have leased their deliveries and are sending them.
        return LEASE_SECONDS + draw.choice((draw.uniform(-0.5, 1), draw.uniform(0, 1.5), draw.uniform(1, 3)))
    return draw.uniform(0.1, 4)


@dataclass
class Saboteur:
    """Carries the faults out."""

    fleet: Fleet
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    stopped: set[int]
    """The stopped processes, kept current for the receivers."""
    windows: list[Window] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    """Processes that ended without a fault."""
    _busy: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def run(self, faults: list[Fault], start: float) -> None:
        """Carry out all faults, each at its time; faults of different targets overlap."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, start + fault.at - time.time()))
                group.create_task(self._carry_out(fault))

    def record(self) -> list[dict[str, Any]]:
        """Return the faults as data, to examine a violation."""
        return [
            {"kind": each.kind, "began": each.began, "ended": each.ended, "pids": sorted(each.pids)}
            for each in self.windows
        ]

    async def _carry_out(self, fault: Fault) -> None:  # noqa: PLR0912 - one case a kind
        worker = self._worker(fault.which)
        match fault.kind:
            case "kill PostgreSQL":
                target = "postgres"
            case "kill Valkey":
                target = "valkey"
            case "kill beat":
                target = self.fleet.beats[fault.which % 2].name
            case _:
                target = worker.name
        lock = self._busy.setdefault(target, asyncio.Lock())
        if lock.locked():
            self.notes.append(f"{fault.kind}: left out, its target is down already")
            return
        async with lock:
            for program in self.fleet.everything():
                if program.name == target and not program.running():
                    self.found_dead(program)
                    program.start()
            match fault.kind:
                case "kill PostgreSQL":
                    await self._kill_postgres(fault)
                case "kill Valkey":
                    with self._window(fault.kind):
                        await asyncio.to_thread(self.valkey.kill)
                        await asyncio.sleep(fault.seconds)
                        await asyncio.to_thread(self.valkey.start)
                case "kill beat":
                    await self._kill_program(fault.kind, self.fleet.beats[fault.which % 2], fault.seconds)
                case "kill worker group":
                    await self._kill_program(fault.kind, worker, fault.seconds)
                case "kill worker parent":
                    await self._kill_parent(worker, fault.seconds)
                case "ask worker to stop":
                    await self._ask_to_stop(worker, fault.seconds)
                case "kill prefork child":
                    self._kill_child(worker, fault.which // 2)
                case _:
                    await self._stop(worker, fault)

    def found_dead(self, program: Program) -> None:
        """Record a program that ended by itself. Celery ends so if a child is killed at its start."""
        last = max((w.began for w in self.windows if w.kind == "kill prefork child"), default=0.0)
        excused = program in self.fleet.workers and time.time() - last < 60
        (self.notes if excused else self.deaths).append(f"{program.name} had ended by itself")

    def _worker(self, which: int) -> Program:
        """Return the drawn worker, or the other one while that is down or stopped already."""
        drawn, other = self.fleet.workers[which % 2], self.fleet.workers[(which + 1) % 2]
        lock = self._busy.get(drawn.name)
        return other if lock is not None and lock.locked() else drawn

    def _window(self, kind: str, *pids: int) -> _Open:
        return _Open(self.windows, Window(kind, time.time(), time.time() + 3_600, frozenset(pids)))

    async def _kill_postgres(self, fault: Fault) -> None:
        with self._window(fault.kind):
            await asyncio.to_thread(self.postgres.kill)
            await asyncio.sleep(fault.seconds)
            for attempt in range(5):
                # A back end that was just being forked outlives the kill by a moment, and holds the shared memory.
                try:
                    await asyncio.to_thread(self.postgres.start)
                    return
                except ServerError:
                    if attempt == 4:
                        raise
                    await asyncio.sleep(0.5)

    async def _kill_program(self, kind: str, program: Program, seconds: float) -> None:
        pids = program.children() if program in self.fleet.workers else []
        with self._window(kind, *pids):
            await asyncio.to_thread(program.kill)
        await asyncio.sleep(seconds)
        program.start()

    async def _kill_parent(self, worker: Program, seconds: float) -> None:
        # Celery's children end within two seconds after the pipe from their parent breaks, in the middle of their work.
        children = worker.children()
        with self._window("kill worker parent", *children):
            if worker.process is not None:
                worker.process.kill()
                await asyncio.to_thread(worker.process.wait)
            gone = [asyncio.to_thread(_wait_until_gone, pid) for pid in children]
            if not all(await asyncio.gather(*gone)):
                self.notes.append(f"{worker.name}: children outlived their parent by {ORPHAN_SECONDS} s")
        await asyncio.sleep(seconds)
        worker.start()

    async def _ask_to_stop(self, worker: Program, seconds: float) -> None:
        # A warm stop explains no repeat, unless it takes too long and becomes a kill.
        pids = worker.children()
        with self._window("ask worker to stop"):
            clean = await asyncio.to_thread(worker.ask_to_stop)
        if not clean:
            self.notes.append(f"{worker.name} did not stop in its time and was killed")
            with self._window("kill worker group", *pids):
                await asyncio.to_thread(worker.kill)
        await asyncio.sleep(seconds)
        worker.start()

    def _kill_child(self, worker: Program, which: int) -> None:
        children = worker.children()
        if not children:
            return
        pid = children[which % len(children)]
        with self._window("kill prefork child", pid), suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def _stop(self, worker: Program, fault: Fault) -> None:
        children = worker.children()
        if not children:
            return
        if fault.kind == "stop prefork child":
            children = [children[fault.which // 2 % len(children)]]
        with self._window(fault.kind, *children):
            self._signal(children, signal.SIGSTOP)
            self.stopped.update(children)
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                self.stopped.difference_update(children)
                self._signal(children, signal.SIGCONT)

    @staticmethod
    def _signal(pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _wait_until_gone(pid: int) -> bool:
    """Wait for the process to end; return whether it did."""
    with suppress(psutil.Error):
        psutil.Process(pid).wait(ORPHAN_SECONDS)
    return not psutil.pid_exists(pid)


class _Open:
    """Records when a fault begins and ends. It is listed from its beginning, as the run may be cut short."""

    def __init__(self, windows: list[Window], window: Window) -> None:
        windows.append(window)
        self._window = window

    def __enter__(self) -> Window:
        return self._window

    def __exit__(self, *_: object) -> None:
        self._window.ended = time.time()
