"""The processes under measurement: throw-away PostgreSQL and Valkey, and any number of one-process uvicorns."""

import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self
from uuid import UUID

import asyncpg
import httpx

from bench.cpu import Meters
from bench.load import HOST
from dev.servers import EmbeddedPostgres, EmbeddedValkey, throwaway_servers

ROOT = Path(__file__).resolve().parent.parent
API = "todo_api.main:create_app"
PROTOCOL = "todo_api.protocol:BoundedHttp"
CONNECTIONS = 5
"""What each server may open to PostgreSQL for lists: the API's own default."""

START_SECONDS = 30.0
STOP_SECONDS = 10.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
"""Nothing else of the caller's environment reaches a server: a DATABASE_URL there is somebody's real database."""


class StackError(Exception):
    """A process did not start, or did not answer as it should; the text says which and shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """One uvicorn process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody signed in."""

    id: UUID
    token: str


@dataclass(slots=True)
class Stack:
    """Everything that one benchmark starts; leaving the context stops it and removes its files."""

    key: str = field(default_factory=lambda: secrets.token_hex(32))
    directory: Path = field(init=False)
    postgres: EmbeddedPostgres = field(init=False)
    valkey: EmbeddedValkey = field(init=False)
    _exits: ExitStack = field(init=False, default_factory=ExitStack)

    def __enter__(self) -> Self:
        try:
            self.directory = Path(self._exits.enter_context(TemporaryDirectory(prefix="todo-bench-")))
            self.postgres, self.valkey = self._exits.enter_context(throwaway_servers())
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.close()

    @property
    def meters(self) -> Meters:
        """The clocks of what all servers share."""
        return Meters(
            _first_number(self.postgres.path / "postmaster.pid"), _first_number(self.valkey.path / "valkey.pid")
        )

    @property
    def body_file(self) -> Path:
        """Where the references find the API's own answer."""
        return self.directory / "body.json"

    async def postgres_version(self) -> str:
        """Such as 18.1."""
        connection = await asyncpg.connect(self.postgres.url())
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    def migrate(self) -> None:
        """Make the product's tables as its operator would."""
        tool = Path(sys.executable).with_name("todo-admin")
        done = subprocess.run(
            [tool, "migrate"],
            env=self._environment({}),
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"todo-admin migrate failed:\n{done.stdout}{done.stderr}")

    def serve_api(self, name: str, *, cached: bool) -> Server:
        """Our API, as it ships, log lines included."""
        return self._serve(name, API, {"CACHE_ENABLED": "true" if cached else "false"}, ready="/readyz")

    def serve_reference(self, name: str) -> Server:
        """One of `bench.references`. The body file must have been written."""
        variables = {
            "REFERENCE_DATABASE_URL": self.postgres.url(),
            "REFERENCE_CONNECTIONS": str(CONNECTIONS),
            "REFERENCE_JWT_KEY": self.key,
            "REFERENCE_BODY_FILE": str(self.body_file),
        }
        return self._serve(name, f"bench.references.{name}:create_app", variables, ready=None)

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        settings = {
            "DATABASE_URL": self.postgres.url(),
            "DATABASE_STATEMENT_POOL_SIZE": str(CONNECTIONS),
            "REDIS_URL": self.valkey.url,
            "TOKEN_KEYS": f"bench:{self.key}",
            "RATE_LIMIT_ENABLED": "false",
            "PASSWORD_BCRYPT_COST": "4",  # nobody measures the one sign-in
        }
        return {**kept, "PYTHONPATH": str(ROOT), **settings, **variables}

    def _serve(self, name: str, application: str, variables: dict[str, str], *, ready: str | None) -> Server:
        port = _free_port()
        log = self.directory / f"{name}.log"
        command = [
            *(sys.executable, "-m", "uvicorn", application, "--factory"),
            *("--host", HOST, "--port", str(port)),
            *("--loop", "uvloop", "--http", PROTOCOL if application == API else "httptools"),
            *("--no-access-log", "--log-level", "warning"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self._environment(variables),
                cwd=self.directory,  # a developer's .env is not read
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then stops its servers in order
            )
        self._exits.callback(_stop, process)
        server = Server(name, port, process)
        _await(server, ready or "/", log)
        return server


def sign_up(server: Server, name: str = "bench") -> Account:
    """Register and sign in, through the API's own contract."""
    password = secrets.token_urlsafe(16)
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        person = {"username": name, "email": f"{name}@example.com", "password": password}
        created = _checked(client.post("/users/", json=person)).json()
        tokens = _checked(client.post("/token", data={"username": name, "password": password})).json()
    return Account(UUID(created["id"]), tokens["access_token"])


def fetch(server: Server, path: str, token: str) -> httpx.Response:
    """One GET, which must succeed."""
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        return _checked(client.get(path, headers={"Authorization": f"Bearer {token}"}))


def _checked(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        raise StackError(f"{response.request.method} {response.url}: {response.status_code} {response.text[:300]}")
    return response


def _first_number(pid_file: Path) -> int:
    return int(pid_file.read_text(encoding="ascii").splitlines()[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _await(server: Server, path: str, log: Path) -> None:
    """Return once the server answers; a 404 or 401 will do where nothing better can be asked for."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(base_url=server.url, timeout=5, trust_env=False) as client:
        while time.monotonic() < deadline and server.process.poll() is None:
            try:
                if client.get(path).status_code < 500:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.1)
    raise StackError(f"{server.name} did not start:\n{log.read_text(errors='replace')[-3_000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
