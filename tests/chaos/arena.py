"""One run: sets up servers, receivers, accounts and processes; then reminders come due while faults happen."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Self

import asyncpg

from dev.postgres import EmbeddedPostgres
from dev.processes import ServerError
from dev.valkey import EmbeddedValkey
from tests.chaos import attribution, evidence, faults, people, report
from tests.chaos.edits import Editors
from tests.chaos.fleet import PREFORK, Fleet, make_fleet
from tests.chaos.ledger import Ledger
from tests.chaos.moods import Temper
from tests.chaos.options import DRAIN_SECONDS, Options
from tests.chaos.peers import Peers
from tests.chaos.receivers import HttpReceiver, SmtpReceiver
from tests.chaos.verdict import Judge, Verdict
from tests.conftest import make_settings
from todo_core.database import Database
from todo_core.migrations import runner

READY_SECONDS = 60.0
MOST_RECEIPTS = 30
"""The limit of receipts for one todo on average; a run has about three."""
# The slow one has many deliveries under way at any moment: there a late settlement by another worker would show.
SLOWNESS = {"http1": (0.0, 0.02), "http2": (0.0, 0.3), "http3": (1.0, 2.0), "smtp": (0.0, 0.2)}


def say(text: str) -> None:
    """Print progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


@contextmanager
def directory(keep: Callable[[], bool]) -> Iterator[Path]:
    """Give a directory for logs, ledger and data; it is removed at the end, unless the run failed."""
    path = Path(tempfile.mkdtemp(prefix="todo-chaos-")).resolve()
    path.chmod(0o711)  # root's PostgreSQL runs as another user, who must be able to pass through
    try:
        yield path
    finally:
        if keep():
            shutil.rmtree(path / "postgres", ignore_errors=True)
            say(f"logs and ledger are kept in {path}")
        else:
            shutil.rmtree(path, ignore_errors=True)


class Watch:
    """Measures the longest stall of this process's event loop, to show a receiver that hangs by accident."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self.worst = max(self.worst, time.monotonic() - before - 0.05)


class Arena:
    """Sets up and runs one run."""

    def __init__(self, options: Options, path: Path) -> None:
        self._options = options
        self._path = path
        self._draws = {name: random.Random(f"{options.seed} {name}") for name in ("faults", "todos", *SLOWNESS)}
        self._postgres = EmbeddedPostgres(path / "postgres")  # with fsync: commits must survive a kill
        self._valkey = EmbeddedValkey(path / "valkey")
        self._ledger = Ledger(path / "ledger.jsonl")
        self._town = people.Town()
        self._fleet: Fleet | None = None
        self._peers = Peers(lambda: self._fleet.pids() if self._fleet else [])
        self._url = ""
        self._tempers: list[Temper] = []

    async def run(self) -> Verdict:
        """Do the whole run, and print the table."""
        options = self._options
        async with AsyncExitStack() as stack:
            stack.callback(self._postgres.stop)
            stack.callback(self._valkey.stop)
            await asyncio.to_thread(self._postgres.start)
            await asyncio.to_thread(self._valkey.start)
            self._url = await asyncio.to_thread(self._postgres.create_database, "chaos")
            settings = make_settings(self._url, self._valkey.url)
            await asyncio.to_thread(runner.upgrade, settings)
            fleet = await self._open_receivers(stack)
            database = Database(settings.database)
            stack.push_async_callback(database.close)
            stack.callback(fleet.kill)
            for program in fleet.everything():
                program.start()
            bursts = [options.seconds * part for part in (0.15, 0.4, 0.65)]
            start = await self._fill(bursts)
            bound = asyncio.create_task(self._bound(fleet))
            stack.callback(bound.cancel)
            saboteur = faults.Saboteur(fleet, self._postgres, self._valkey, self._peers.stopped)
            planned = faults.plan(self._draws["faults"], options.faults_until, bursts)
            say(f"started: {len(self._town.todos)} reminders and {len(planned)} faults in {options.seconds} s")
            watch = stack.enter_context(Watch())
            course = asyncio.create_task(self._course(saboteur, planned, start, database))
            await asyncio.wait((course, bound), return_when=asyncio.FIRST_COMPLETED)
            if bound.done():
                course.cancel()
                bound.result()
            await course
            bound.cancel()
            await self._stop(fleet, saboteur)
            sql = await asyncpg.connect(self._url)
            found = await evidence.collect(sql)
            await sql.close()
        saboteur.notes.append(f"the receivers' own worst hiccup was {watch.worst:.2f} s")
        (self._path / "faults.json").write_text(json.dumps(saboteur.record(), indent=1), encoding="utf-8")
        why = attribution.Attribution(saboteur.windows, attribution.time_outs(self._path.glob("worker?.log")))
        verdict = Judge(self._town, self._ledger, found, why).judge()
        if saboteur.deaths:
            verdict.violations["a process ended by itself"] = saboteur.deaths
        if defects := attribution.defects(self._path.glob("*.log")):
            verdict.violations["a log shows a defect"] = defects
        print("\n" + "\n".join(report.lines(options, self._town, self._ledger, found, saboteur, verdict)), flush=True)
        return verdict

    async def _course(
        self, saboteur: faults.Saboteur, planned: list[faults.Fault], start: float, database: Database
    ) -> None:
        """Carry out the faults while reminders come due, and wait until all have arrived."""
        async with asyncio.TaskGroup() as group:
            group.create_task(Editors(database, self._town).run())
            await saboteur.run(planned, start)
            say("the faults are over")
        await asyncio.sleep(max(0.0, self._town.last_due() - time.time()))
        await self._drain()

    async def _open_receivers(self, stack: AsyncExitStack) -> Fleet:
        peers = self._peers
        tempers = [Temper(name, slowness, self._draws[name]) for name, slowness in SLOWNESS.items()]
        https = [HttpReceiver(temper, self._ledger, peers) for temper in tempers[:-1]]
        smtp = SmtpReceiver(tempers[-1], self._ledger, peers)
        for server in [*[await http.start() for http in https], await smtp.start()]:
            stack.callback(server.close)
        sql = await asyncpg.connect(self._url)
        await people.settle_people(sql, self._town, [http.port for http in https])
        await sql.close()
        self._tempers = tempers
        self._fleet = make_fleet(self._path, self._url, self._valkey.url, smtp.port)
        return self._fleet

    async def _fill(self, bursts: list[float]) -> float:
        """Wait until the workers run, plan the todos from then on, and return the start time."""
        assert self._fleet is not None
        async with asyncio.timeout(READY_SECONDS):
            while any(len(worker.children()) < PREFORK for worker in self._fleet.workers):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        options, start = self._options, time.time() + 3
        people.plan_todos(
            self._town,
            self._draws["todos"],
            count=options.todos,
            start=start,
            seconds=options.seconds,
            bursts=bursts,
        )
        sql = await asyncpg.connect(self._url)
        await people.insert_todos(sql, self._town)
        await sql.close()
        for temper in self._tempers:
            temper.plan(start, options.faults_until)
        return start

    async def _bound(self, fleet: Fleet) -> None:
        """Stop a run that sends without end, before it exhausts the machine: it has failed."""
        most = 1_000 + MOST_RECEIPTS * self._options.todos
        while len(self._ledger.receipts) < most:  # noqa: ASYNC110 - a look now and then costs less
            await asyncio.sleep(0.5)
        fleet.kill()
        counts = Counter(receipt.id for receipt in self._ledger.receipts).most_common(10)
        raise ServerError(f"more than {most} receipts: it sends without end. Most often: {counts}")

    async def _drain(self) -> None:
        """Wait until no delivery is left, or until the time limit: then the verdict names those that are left."""
        say("everything has come due; waiting until it has arrived")
        sql = await asyncpg.connect(self._url)
        until = time.monotonic() + DRAIN_SECONDS
        while (left := await evidence.unfinished(sql)) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await sql.close()
        say(f"left undone: {left}")

    @staticmethod
    async def _stop(fleet: Fleet, saboteur: faults.Saboteur) -> None:
        """Stop all processes, so that no delivery arrives while the ledger is read."""
        for program in fleet.everything():
            if not program.running():
                saboteur.found_dead(program)
            elif not await asyncio.to_thread(program.ask_to_stop):
                saboteur.notes.append(f"{program.name} did not stop in its time")
