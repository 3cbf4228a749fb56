"""`make run`: everything that the product needs, started on this machine and stopped together.

The data stays in DATA_DIR: PostgreSQL's, Valkey's, and the key that signs access tokens, so that sessions
outlive a restart. Ctrl-C, SIGTERM or a closed terminal stop the programs first and the servers after them.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":  # the imports take half a second, in which Ctrl-C needs no traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import logging
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from dev.data_directory import DataDirectory
from dev.network import check_port, origin
from dev.processes import ServerError, free_port, stop_child
from dev.servers import EmbeddedPostgres, EmbeddedValkey
from todo_core.settings import ConfigurationError, Settings, check_names

READY_SECONDS = 60
GRACE_SECONDS = 15  # a little longer than uvicorn gives the requests that it is still answering
WORKER_PROCESSES = 2  # the worker's one process, and beat
QUIET_SECONDS = 3.0
FOR_ADMIN = ("DATABASE_URL", "REDIS_URL")
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Program:
    """One of our own processes."""

    name: str
    command: list[str]


def programs(host: str, port: int, mail: Path, mail_port: int) -> list[Program]:
    """Return what runs on top of the servers, in the order of starting."""
    python = [sys.executable, "-m"]
    api = [*python, "uvicorn", "todo_api.main:create_app", "--factory", "--host", host, "--port", str(port)]
    api += ["--http", "todo_api.protocol:BoundedHttp", "--no-server-header"]
    api += ["--no-access-log", "--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "10"]
    celery = [*python, "celery", "--quiet", "--app", "todo_worker.app"]
    # One process is enough here, and without a parent that waits for it, it stops a second sooner.
    worker = [*celery, "worker", "--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [
        Program("mail catcher", [*python, "dev.mail", "--port", str(mail_port), str(mail)]),
        Program("api", api),
        Program("worker", worker),
        Program("beat", [*celery, "beat"]),
    ]


class Interrupted(Exception):
    """Raised by Ctrl-C while a server starts: nothing of it has to be finished."""


class Stack:
    """The servers and programs of one `make run`."""

    def __init__(self, data: DataDirectory, host: str, port: int) -> None:
        self.data = data
        self.host = host
        self.port = port
        # A plain flag: an Event's lock would be taken by the waiting thread when a signal handler wants to set it.
        self.stopping = False
        self.starting_servers = False
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Start everything, wait for a signal to stop, and stop it in the opposite order.

        Raises:
            ServerError: something did not start, or died later.
        """
        with ExitStack() as running:
            starting = running.enter_context(still_starting())
            self.starting_servers = True
            say("Starting PostgreSQL ...")
            postgres = running.enter_context(EmbeddedPostgres(self.data.path / "postgres"))
            say("Starting Valkey ...")
            valkey = running.enter_context(EmbeddedValkey(self.data.path / "valkey", persistent=True))
            database_url = postgres.create_database("todo")
            self.starting_servers = False
            environment = {
                **os.environ,
                "DATABASE_URL": database_url,
                "REDIS_URL": valkey.url,
                "ENVIRONMENT": "development",
                "TOKEN_KEYS": self._token_keys(),
                "PYTHONUNBUFFERED": "1",
            }
            running.enter_context(self._settings_for_admin(environment))
            mail, mail_port = self.data.path / "mail", free_port()
            environment = self._for_reminders(mail_port) | environment
            self._migrate(environment)
            running.callback(self._stop_programs)
            started_at = time.time()
            for program in programs(self.host, self.port, mail, mail_port):
                self._start(program, environment)
            ready = self._wait_until_ready(Path(environment["WORKER_STATE_DIR"]), started_at)
            starting.set()
            if ready:
                self._show_banner(environment, mail)
            self._watch(postgres, valkey)
            say("Stopping ...")

    @contextmanager
    def _settings_for_admin(self, environment: dict[str, str]) -> Iterator[None]:
        """Write down how `make admin` reaches the servers, while they run."""
        path = self.data.path / "settings"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={quote(environment[name])}\n" for name in FOR_ADMIN), encoding="utf-8")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def ask_to_stop(self, number: int, _: object) -> None:
        """Begin to stop; at a second Ctrl-C, end our programs at once. (make and the kernel may repeat the others.)"""
        if self.stopping and number == signal.SIGINT:
            for child in self.children.values():
                child.kill()
        self.stopping = True
        if self.starting_servers:
            self.starting_servers = False
            raise Interrupted

    def _token_keys(self) -> str:
        """Return the key that signs access tokens, made once and kept."""
        path = self.data.path / "token-key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32), encoding="ascii")
        return f"dev:{path.read_text(encoding='ascii').strip()}"

    def _for_reminders(self, mail_port: int) -> dict[str, str]:
        """Return how reminders go out here, as far as the environment does not say otherwise."""
        return {
            "PUBLIC_URL": origin(self.host, self.port),
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mail_port),
            "EMAIL_SECURITY": "none",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",  # so that a receiver under development can be called
            "WORKER_STATE_DIR": str(self.data.path / "worker"),
            "WORKER_GRACE_SECONDS": "10",
        }

    def _migrate(self, environment: dict[str, str]) -> None:
        if self.stopping:
            return
        # In a process group of its own: a migration that has begun is finished, Ctrl-C or not.
        if subprocess.run([BIN / "todo-admin", "migrate"], env=environment, check=False, process_group=0).returncode:
            raise ServerError("The migrations could not be applied; the lines above say why.")

    def _start(self, program: Program, environment: dict[str, str]) -> None:
        if not self.stopping:
            say(f"Starting {program.name} ...")
            self.children[program.name] = subprocess.Popen(program.command, env=environment, process_group=0)
            self.data.remember(child.pid for child in self.children.values())

    def _wait_until_ready(self, worker_state: Path, started_at: float) -> bool:
        """Wait until the API answers and worker and beat have written a heartbeat; False when asked to stop."""
        # A proxy that the environment names is for the world outside.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + READY_SECONDS
        while not self.stopping:
            self._check_programs()
            beating = [file for file in worker_state.glob("heartbeat-*") if file.stat().st_mtime >= started_at - 1]
            with suppress(OSError), opener.open(f"{origin(self.host, self.port)}/readyz", timeout=5):
                if len(beating) >= WORKER_PROCESSES:
                    return True
            if time.monotonic() > deadline:
                raise ServerError(f"Not everything was ready in {READY_SECONDS} seconds; the lines above may say why.")
            time.sleep(0.1)
        return False

    def _watch(self, *servers: EmbeddedPostgres | EmbeddedValkey) -> None:
        while not self.stopping:
            time.sleep(0.2)
            self._check_programs()
            for server in servers:
                if not server.running():
                    raise ServerError(f"A server died; its log is {server.log_path}.")

    def _check_programs(self) -> None:
        for name, child in self.children.items():
            if child.poll() is not None and not self.stopping:
                raise ServerError(f"The {name} process died ({ending(child.returncode)}); the lines above may say why.")

    def _stop_programs(self) -> None:
        # All at once: each takes a second or two, and needs none of the others to end well.
        with ThreadPoolExecutor() as pool:
            for child in self.children.values():
                pool.submit(stop_child, child, ask=signal.SIGTERM, patience=GRACE_SECONDS)

    def _show_banner(self, environment: dict[str, str], mail: Path) -> None:
        address = origin(self.host, self.port)
        lines = [
            f"Swagger UI   {address}/docs",
            f"ReDoc        {address}/redoc",
            f"PostgreSQL   {environment['DATABASE_URL']}",
            f"Valkey       {environment['REDIS_URL']}",
            f"Mail         {mail}  (every mail that is sent, as a file)",
            f"Data         {self.data.path}",
            "",
            "`make seed` fills a demo account; `make admin` lists what an operator can do.",
            "Ctrl-C stops everything; the data stays.",
        ]
        rule = "-" * max(map(len, lines))
        say("\n".join(["", rule, *lines, rule, ""]))


def ending(code: int) -> str:
    """Put an exit status into words."""
    return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


@contextmanager
def still_starting() -> Iterator[threading.Event]:
    """Print a sign of life every few seconds, until the event is set or the block ends."""
    started, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(QUIET_SECONDS):
            say(f"... still starting ({time.monotonic() - started:.0f} s)")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield done
    finally:
        done.set()
        teller.join()


def say(text: str) -> None:
    """Tell the person at the terminal, who may have closed it."""
    with suppress(OSError):
        print(text, flush=True)


def main() -> None:
    """Run the stack that HOST, PORT and DATA_DIR describe."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host = os.environ.get("HOST") or "127.0.0.1"
    try:
        check_names()
        Settings.load()
        with DataDirectory(Path(os.environ.get("DATA_DIR") or ".local")) as data:
            data.stop_left_overs()
            port = check_port(host, os.environ.get("PORT") or "8000")
            stack = Stack(data, host, port)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, stack.ask_to_stop)
            with suppress(Interrupted):
                stack.run()
    except (ServerError, ConfigurationError) as error:
        sys.exit(f"\n{error}")
    say("Stopped.")


if __name__ == "__main__":
    main()
