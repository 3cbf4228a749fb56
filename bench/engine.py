"""The reminder engine under measurement: PostgreSQL as in production, Valkey, worker, beat, and a fast receiver."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import httpx

from bench.stack import INHERITED, ROOT
from dev.postgres import EmbeddedPostgres
from dev.processes import free_port, last_lines, scratch_directory, stop_child
from dev.valkey import EmbeddedValkey

BIN = Path(sys.executable).parent
START_SECONDS = 60.0
WORKER = ["celery", "-A", "todo_worker.app", "worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]
BEAT = ["celery", "-A", "todo_worker.app", "beat"]


class EngineError(Exception):
    """A process did not start, died, or did not do its work; the text says which, and shows the end of its log."""


@dataclass(slots=True)
class Servers:
    """PostgreSQL with fsync, Valkey, and the receiver; leaving the context stops them and removes their files."""

    key: str = field(default_factory=lambda: secrets.token_hex(32))
    directory: Path = field(init=False)
    postgres: EmbeddedPostgres = field(init=False)
    valkey: EmbeddedValkey = field(init=False)
    receiver: str = field(init=False, default="")
    _exits: ExitStack = field(init=False, default_factory=ExitStack)

    def __enter__(self) -> Self:
        try:
            self.directory = self._exits.enter_context(scratch_directory())
            self.postgres = self._exits.enter_context(EmbeddedPostgres(self.directory / "postgres"))
            self.valkey = self._exits.enter_context(EmbeddedValkey(self.directory / "valkey"))
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.close()

    def database(self, name: str, revision: str = "head") -> str:
        """Make a database with the product's tables; its address."""
        address = self.postgres.create_database(name)
        self.migrate(address, revision)
        return address

    def migrate(self, address: str, revision: str = "head") -> None:
        """Run `todo-admin migrate`, as an operator would.

        Raises:
            EngineError: it failed.
        """
        command = [str(BIN / "todo-admin"), "migrate", revision]
        done = subprocess.run(
            command, env=self.environment(address), cwd=self.directory, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise EngineError(f"todo-admin migrate {revision} failed:\n{done.stdout}{done.stderr}")

    def start_receiver(self) -> None:
        """Start it, and wait until it answers."""
        port = free_port()
        self.receiver = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "bench.receiver", str(port)]
        self._start("receiver", command, self.environment(""), self._exits)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                self.received()
                return
            time.sleep(0.05)
        raise EngineError(f"the receiver did not start:\n{last_lines(self.directory / 'receiver.log', 20)}")

    def received(self) -> int:
        """How many webhooks have come to the receiver that does not hang."""
        return int(httpx.get(f"{self.receiver}/count", timeout=5, trust_env=False).text)

    def hang(self, hanging: bool) -> None:
        """Have the receiver's /hang paths hang, or answer all that wait."""
        path = "hold" if hanging else "release"
        httpx.post(f"{self.receiver}/{path}", timeout=5, trust_env=False).raise_for_status()

    @contextmanager
    def worker(self, address: str, processes: int) -> Iterator[None]:
        """The real thing, as it is deployed: a Celery worker with so many processes, and beat."""
        name = f"worker{processes}"
        environment = self.environment(address) | {"WORKER_STATE_DIR": str(self.directory / f"{name}-state")}
        with ExitStack() as exits:
            for each, command in ((name, [*WORKER, "--concurrency", str(processes)]), (f"{name}-beat", BEAT)):
                self._start(each, [str(BIN / command[0]), *command[1:]], environment, exits)
            self._await_heartbeats(Path(environment["WORKER_STATE_DIR"]), processes + 1, name)
            yield

    def run_bare_loop(self, address: str) -> None:
        """Run it to its end.

        Raises:
            EngineError: it failed.
        """
        command = [sys.executable, "-m", "bench.bare_loop", address]
        done = subprocess.run(
            command, env=self.environment(address), cwd=self.directory, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise EngineError(f"the bare loop failed:\n{done.stderr[-3_000:]}")

    def environment(self, address: str) -> dict[str, str]:
        """What a process of the product is told; everything else has its default."""
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return kept | {
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": address,
            "REDIS_URL": self.valkey.url,
            "TOKEN_KEYS": f"bench:{self.key}",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "LOG_LEVEL": "WARNING",
        }

    def _start(self, name: str, command: list[str], environment: dict[str, str], exits: ExitStack) -> None:
        with (self.directory / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self.directory,  # a developer's .env is not read
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then stops them in order
            )
        exits.callback(stop_child, process, patience=30)

    def _await_heartbeats(self, state: Path, count: int, name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while len(list(state.glob("heartbeat-*"))) < count:
            if time.monotonic() > deadline:
                raise EngineError(f"{name} did not start:\n{last_lines(self.directory / f'{name}.log', 20)}")
            time.sleep(0.1)

    async def version(self) -> str:
        """PostgreSQL's, such as 18.1."""
        connection = await asyncpg.connect(self.postgres.url())
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()
