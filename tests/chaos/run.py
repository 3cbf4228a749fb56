"""One run: starts servers, receivers and processes, then carries out faults while reminders come due."""

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
from dataclasses import asdict
from pathlib import Path

import asyncpg

from dev.postgres import EmbeddedPostgres
from dev.valkey import EmbeddedValkey
from tests.chaos import attribution, faults, people
from tests.chaos.options import DRAIN_SECONDS, Options
from tests.chaos.peers import Peers
from tests.chaos.processes import PREFORK, Processes, make_processes
from tests.chaos.receivers import HttpReceiver, Ledger, Receiver, SmtpReceiver
from tests.chaos.verdict import Verdict, unfinished
from tests.conftest import make_settings
from todo_core.database import Database
from todo_core.migrations import runner

READY_SECONDS = 60.0
# The slow one has many deliveries under way at any moment: there a late settlement by another worker would show.
SLOWNESS = {"http1": (0.0, 0.02), "http2": (0.0, 0.3), "http3": (1.0, 2.0), "smtp": (0.0, 0.2)}


def say(text: str) -> None:
    """Print progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


@contextmanager
def directory(keep: Callable[[], bool]) -> Iterator[Path]:
    """Give a directory for logs and data; it is removed at the end, unless the run failed."""
    path = Path(tempfile.mkdtemp(prefix="todo-chaos-")).resolve()
    path.chmod(0o711)  # root's PostgreSQL runs as another user, who must be able to pass through
    try:
        yield path
    finally:
        if keep():
            shutil.rmtree(path / "postgres", ignore_errors=True)
            say(f"logs, receipts and faults are kept in {path}")
        else:
            shutil.rmtree(path, ignore_errors=True)


class Run:
    """One run with its options and its directory."""

    def __init__(self, options: Options, path: Path) -> None:
        self._options = options
        self._path = path
        self._ledger = Ledger()

    async def carry_out(self) -> Verdict:
        """Do the whole run, and print the table."""
        postgres = EmbeddedPostgres(self._path / "postgres")  # with fsync: commits must survive a kill
        valkey = EmbeddedValkey(self._path / "valkey")
        async with AsyncExitStack() as stack:
            for server in (postgres, valkey):
                stack.callback(server.stop)
                await asyncio.to_thread(server.start)
            url = await asyncio.to_thread(postgres.create_database, "chaos")
            settings = make_settings(url, valkey.url)
            await asyncio.to_thread(runner.upgrade, settings)
            database = Database(settings.database)
            stack.push_async_callback(database.close)
            peers = Peers(lambda: processes.pids())  # noqa: PLW0108 - they are made below
            receivers = await self._open_receivers(stack, peers)
            processes = make_processes(self._path, url, valkey.url, receivers[-1].port)
            stack.callback(processes.kill)
            injector = faults.Injector(processes, postgres, valkey, peers.stopped)
            todos = await self._work(url, receivers, processes, injector, database)
            await self._stop(processes, injector)
            sql = await asyncpg.connect(url)
            stack.push_async_callback(sql.close)
            why = attribution.Attribution(injector.windows, attribution.time_outs(self._path.glob("worker?.log")))
            verdict = await Verdict.reach(sql, todos, self._ledger, why)
        for rule, cases in {
            "a process ended by itself": injector.deaths,
            "a log shows a defect": attribution.defects(self._path.glob("*.log")),
        }.items():
            if cases:
                verdict.violations[rule] = cases
        evidence = {"faults": [*map(asdict, injector.windows)], "receipts": [*map(asdict, self._ledger.receipts)]}
        (self._path / "evidence.json").write_text(json.dumps(evidence, indent=1, default=list), encoding="utf-8")
        notes = [f"note: {note}" for note in injector.notes]
        kinds = Counter(window.kind for window in injector.windows)
        print("", *verdict.lines(kinds), *notes, sep="\n", flush=True)
        return verdict

    async def _open_receivers(self, stack: AsyncExitStack, peers: Peers) -> list[Receiver]:
        receivers: list[Receiver] = []
        for name, slowness in SLOWNESS.items():
            kind = SmtpReceiver if name == "smtp" else HttpReceiver
            receiver = kind(name, slowness, self._draw(name), self._ledger, peers)
            stack.callback((await receiver.start()).close)
            receivers.append(receiver)
        return receivers

    async def _work(
        self,
        url: str,
        receivers: list[Receiver],
        processes: Processes,
        injector: faults.Injector,
        database: Database,
    ) -> list[people.PlannedTodo]:
        """Carry out the faults while reminders come due, wait until all have arrived, and return the todos."""
        options = self._options
        for program in processes.all():
            program.start()
        async with asyncio.timeout(READY_SECONDS):
            while any(len(worker.children()) < PREFORK for worker in processes.workers):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        bursts = [options.seconds * part for part in (0.15, 0.4, 0.65)]
        start = time.time() + 3
        sql = await asyncpg.connect(url)
        accounts = await people.insert_accounts(sql, [receiver.port for receiver in receivers[:-1]])
        todos = people.plan_todos(
            accounts, self._draw("todos"), count=options.todos, start=start, seconds=options.seconds, bursts=bursts
        )
        await people.insert_todos(sql, todos)
        await sql.close()
        for receiver in receivers:
            receiver.plan(start, options.faults_until)
        planned = faults.plan(self._draw("faults"), options.faults_until, bursts)
        say(f"started: {len(todos)} reminders and {len(planned)} faults in {options.seconds} s")
        async with asyncio.TaskGroup() as group:
            group.create_task(people.change_todos(database, todos))
            await injector.run(planned, start)
            say("the faults are over")
        await asyncio.sleep(max(0.0, max(max(todo.due, todo.moved_to) for todo in todos) - time.time()))
        say("everything has come due; waiting until it has arrived")
        sql = await asyncpg.connect(url)
        until = time.monotonic() + DRAIN_SECONDS
        while (left := await unfinished(sql)) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await sql.close()
        say(f"left undone: {left}")
        return todos

    def _draw(self, name: str) -> random.Random:
        """Return the random numbers of one part: those of another part do not change them."""
        return random.Random(f"{self._options.seed} {name}")

    @staticmethod
    async def _stop(processes: Processes, injector: faults.Injector) -> None:
        """Stop all processes, so that no delivery arrives while the ledger is read."""
        for program in processes.all():
            if not program.running():
                injector.found_dead(program)
            elif not await asyncio.to_thread(program.ask_to_stop):
                injector.notes.append(f"{program.name} did not stop in its time")
