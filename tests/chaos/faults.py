"""Faults: drawn from the seed, carried out on real processes, and recorded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import psutil

from dev.postgres import EmbeddedPostgres
from dev.processes import ServerError
from dev.valkey import EmbeddedValkey
from tests.chaos.options import LEASE_SECONDS
from tests.chaos.processes import CeleryProcess, Processes

Kind = Literal[
    "kill worker group", "kill prefork child", "kill worker parent", "stop prefork child", "stop worker group",
    "kill beat", "kill Valkey", "kill PostgreSQL",
]  # fmt: skip
ROUND: tuple[Kind, ...] = (
    "kill worker group", "kill prefork child", "kill prefork child", "stop prefork child", "stop worker group",
    "kill PostgreSQL", "kill Valkey", "kill beat", "kill worker parent", "kill PostgreSQL",
)  # fmt: skip
"""The faults of a round, in an order that the seed draws. Warm stops are tested in tests/integration."""
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
class Injector:
    """Carries the faults out."""

    processes: Processes
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    stopped: set[int]
    """The stopped processes, kept current for the receivers."""
    windows: list[Window] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    """Processes that ended without a fault."""
    _busy: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def run(self, faults: list[Fault], start: float) -> None:
        """Carry out all faults, each at its time; faults of different targets overlap."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, start + fault.at - time.time()))
                group.create_task(self._carry_out(fault))

    async def _carry_out(self, fault: Fault) -> None:
        program = self._target(fault)
        lock = self._busy[program.name if program else fault.kind]
        if lock.locked():
            self.notes.append(f"{fault.kind}: left out, its target is down already")
            return
        async with lock:
            if program and not program.running():
                self.found_dead(program)
                program.start()
            match fault.kind, program:
                case "kill PostgreSQL", None:
                    await self._kill_postgres(fault)
                case "kill Valkey", None:
                    with self._window(fault.kind):
                        await asyncio.to_thread(self.valkey.kill)
                        await asyncio.sleep(fault.seconds)
                        await asyncio.to_thread(self.valkey.start)
                case (("kill beat" | "kill worker group" | "kill worker parent"), CeleryProcess()):
                    await self._kill_program(fault, program)
                case "kill prefork child", CeleryProcess():
                    for pid in self._children(fault, program):
                        with self._window(fault.kind, pid):
                            _signal(pid, signal.SIGKILL)
                case _, CeleryProcess():
                    await self._stop(fault, self._children(fault, program))

    def found_dead(self, program: CeleryProcess) -> None:
        """Record a program that ended by itself. Celery ends so if a child is killed at its start."""
        last = max((w.began for w in self.windows if w.kind == "kill prefork child"), default=0.0)
        excused = program in self.processes.workers and time.time() - last < 60
        (self.notes if excused else self.deaths).append(f"{program.name} had ended by itself")

    def _target(self, fault: Fault) -> CeleryProcess | None:
        """Return the drawn beat or worker (the other worker while that is down or stopped); None for a server."""
        if fault.kind in ("kill PostgreSQL", "kill Valkey"):
            return None
        if fault.kind == "kill beat":
            return self.processes.beats[fault.which % 2]
        drawn, other = self.processes.workers[fault.which % 2], self.processes.workers[(fault.which + 1) % 2]
        return other if self._busy[drawn.name].locked() else drawn

    def _children(self, fault: Fault, worker: CeleryProcess) -> list[int]:
        """Return the drawn child of a worker, or all for a fault of the group."""
        children = worker.children()
        if fault.kind == "stop worker group" or not children:
            return children
        return [children[fault.which // 2 % len(children)]]

    @contextmanager
    def _window(self, kind: str, *pids: int) -> Iterator[None]:
        """Record when a fault begins and ends. It is listed from its beginning: until its end it has no bound."""
        window = Window(kind, time.time(), time.time() + 3_600, frozenset(pids))
        self.windows.append(window)
        yield
        window.ended = time.time()

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

    async def _kill_program(self, fault: Fault, program: CeleryProcess) -> None:
        assert program.process is not None
        pids = program.children() if program in self.processes.workers else []
        with self._window(fault.kind, *pids):
            if fault.kind == "kill worker parent":
                # Celery's children end within two seconds after the pipe from their parent breaks, in the middle of
                # their work.
                program.process.kill()
                await asyncio.to_thread(program.process.wait)
                gone = [asyncio.to_thread(_wait_until_gone, pid) for pid in pids]
                if not all(await asyncio.gather(*gone)):
                    self.notes.append(f"{program.name}: children outlived their parent by {ORPHAN_SECONDS} s")
            else:
                await asyncio.to_thread(program.kill)
        await asyncio.sleep(fault.seconds)
        program.start()

    async def _stop(self, fault: Fault, children: list[int]) -> None:
        with self._window(fault.kind, *children):
            for pid in children:
                _signal(pid, signal.SIGSTOP)
            self.stopped.update(children)
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                self.stopped.difference_update(children)
                for pid in children:
                    _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_until_gone(pid: int) -> bool:
    """Wait for the process to end; return whether it did."""
    with suppress(psutil.Error):
        psutil.Process(pid).wait(ORPHAN_SECONDS)
    return not psutil.pid_exists(pid)
