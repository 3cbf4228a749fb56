"""A container stack for the tests: built, started, reached through nginx, and removed with all its data."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.factories import PASSWORD, Person
from tests.stack.waiting import until

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCT = ("db", "redis", "api", "worker", "beat", "nginx")
"""The services that run permanently. `mail` and `receiver` belong to the tests."""
SOURCE, REVISION = "https://example.com/todo", "0123456789abcdef"
PASSED_ON = ("PATH", "HOME", "DOCKER_", "BASE_PREFIX", "INDEX_URL", "TMPDIR", "XDG_", "BUILDKIT_", "LANG")
"""The environment variables that are passed on. No other one, and no .env, configures the stack."""


class CommandFailed(AssertionError):
    """A command ended with another status than 0."""


async def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    seconds: float = 120,
    with_errors: bool = False,
) -> str:
    """Run a command and return its standard output; `with_errors`, its standard error as well.

    Raises:
        CommandFailed: it failed, or took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=env,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if with_errors else asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
    except BaseException as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(error, TimeoutError):
            raise CommandFailed(f"{' '.join(command)}: not done within {seconds:g} seconds") from None
        raise
    if process.returncode:
        said = (err or out).decode("utf-8", "replace").strip()
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{said[-4000:]}")
    return out.decode("utf-8", "replace")


def free_port() -> int:
    """Return a port that is free for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass
class Stack:
    """Starts, queries and removes a stack."""

    project: str
    ca: Path
    https_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    receiver_port: int = field(default_factory=free_port)
    overrides: dict[str, str] = field(default_factory=dict)
    """More environment for Compose."""

    @property
    def base_url(self) -> str:
        """Return the public address."""
        return f"https://localhost:{self.https_port}"

    @property
    def env(self) -> dict[str, str]:
        """Return the environment with which `docker compose` and `make` address this stack."""
        outside = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        return outside | {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": "compose.yaml:tests/stack/compose.yaml",
            "COMPOSE_PROFILES": "mail",
            "COMPOSE_ENV_FILES": "/dev/null",
            "TAG": self.project,
            "SOURCE": SOURCE,
            "REVISION": REVISION,
            "HTTPS_PORT": str(self.https_port),
            "HTTP_PORT": str(self.http_port),
            "RECEIVER_PORT": str(self.receiver_port),
            "EMAIL_HOST": "mail",
            "EMAIL_PORT": "1025",
            "EMAIL_SECURITY": "none",
            "WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
            "NGINX_HSTS_SECONDS": "63072000",
            "NGINX_REQUESTS_PER_SECOND": "1000",
            "NGINX_BURST": "2000",
            "NGINX_SIGN_INS_PER_SECOND": "100",
            "NGINX_SIGN_IN_BURST": "500",
            "NGINX_CONNECTIONS": "500",
            **self.overrides,
        }

    async def compose(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """Run `docker compose` and return its output."""
        return await run("docker", "compose", "--ansi", "never", *arguments, env=self.env, stdin=stdin, seconds=seconds)

    async def up(self) -> None:
        """Build changed images, start everything, and wait until all is healthy."""
        await self.compose("build", "--quiet", seconds=900)
        await self.compose("up", "--detach", "--wait", "--wait-timeout", "180", seconds=200)
        self.ca.write_text(await self.inside("nginx", "cat", "/etc/nginx/tls/ca.pem"))

    async def healthy(self, seconds: float) -> None:
        """Wait until every container is healthy without intervention, and the API answers steadily through nginx."""
        deadline = time.monotonic() + seconds

        async def all_are() -> bool:
            return all(state == "running healthy" for state in (await self.states()).values())

        await until(all_are, seconds, "all containers healthy")
        async with self.client() as http:
            await _answers(http, deadline - time.monotonic(), for_good=3.0)

    async def states(self) -> dict[str, str]:
        """Return the state of each permanent container, by its name."""
        ids = (await self.compose("ps", "--all", "--quiet", *PRODUCT, "mail", "receiver")).split()
        shown = await run("docker", "inspect", *ids)
        return {
            container["Name"].strip("/"): f"{container['State']['Status']} {container['State']['Health']['Status']}"
            for container in json.loads(shown)
        }

    async def containers(self, service: str) -> list[dict[str, Any]]:
        """Return `docker inspect` of a service's containers."""
        ids = (await self.compose("ps", "--quiet", service)).split()
        assert ids, f"{service} has no container"
        return list(json.loads(await run("docker", "inspect", *ids)))

    async def container(self, service: str) -> dict[str, Any]:
        """Return `docker inspect` of a service's only container."""
        (only,) = await self.containers(service)
        return only

    async def inside(self, service: str, *command: str, stdin: str | None = None) -> str:
        """Run a command in a service's container and return its output."""
        return await self.compose("exec", "--no-TTY", service, *command, stdin=stdin)

    async def sql(self, statement: str) -> str:
        """Run a statement and return PostgreSQL's answer, unaligned and without headings."""
        return (await self.inside("db", "psql", "-U", "todo", "-d", "todo", "-qAt", "-c", statement)).strip()

    async def docker(self, *arguments: str) -> str:
        """Run `docker` and return its output."""
        return await run("docker", *arguments)

    async def lines(self, service: str) -> list[dict[str, Any]]:
        """Return the JSON lines in the log of a service's only container."""
        return await self.lines_of((await self.container(service))["Id"])

    async def log_of(self, container: str) -> str:
        """Return the whole log of a container."""
        return await run("docker", "logs", container, with_errors=True)

    async def lines_of(self, container: str) -> list[dict[str, Any]]:
        """Return the JSON lines in a container's log."""
        text = await self.log_of(container)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def tls(self) -> ssl.SSLContext:
        """Return a TLS context that trusts only the development authority."""
        return ssl.create_default_context(cafile=self.ca)

    def client(self, *, base_url: str | None = None, http2: bool = False, **options: Any) -> httpx.AsyncClient:
        """Return a client that speaks to nginx and verifies its certificate."""
        return httpx.AsyncClient(
            base_url=base_url or self.base_url,
            verify=self.tls(),
            http2=http2,
            trust_env=False,
            timeout=options.pop("timeout", 20),
            **options,
        )

    async def person(self, http: httpx.AsyncClient, **fields: str) -> Person:
        """Open a new account and sign in."""
        name = f"p{secrets.token_hex(6)}"
        details = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **fields}
        registered = await http.post("/users/", json=details)
        assert registered.status_code == 201, registered.text
        signed_in = await http.post("/token", data={"username": name, "password": PASSWORD})
        assert signed_in.status_code == 200, signed_in.text
        return Person(http, name, details["email"], PASSWORD, registered.json()["id"], signed_in.json())

    async def mails(self, address: str) -> list[str]:
        """Return the raw mails to an address in the mail catcher, the oldest first."""
        read = (
            "import json, pathlib; print(json.dumps([p.read_text() for p in sorted(pathlib.Path('/mail').iterdir())]))"
        )
        caught: list[str] = json.loads(await self.inside("mail", "python", "-c", read))
        return [mail for mail in caught if re.search(rf"^To: .*{re.escape(address)}", mail, re.MULTILINE)]

    async def posted(self, name: str) -> list[dict[str, Any]]:
        """Return the requests to the receiver's /hooks/NAME."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{self.receiver_port}/received")
        return [request for request in answer.json() if request["name"] == name]

    @asynccontextmanager
    async def another_nginx(self, **environment: str) -> AsyncIterator[tuple[str, str]]:
        """Run a second nginx before the same API, with other settings, for the length of the block.

        Yields:
            its address, and its container's name.
        """
        port, name = free_port(), f"{self.project}-nginx-{secrets.token_hex(3)}"
        settings = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
        await self.compose(
            *("run", "--detach", "--rm", "--no-deps", "--name", name, "--publish", f"127.0.0.1:{port}:8443"),
            *settings,
            "nginx",
        )
        try:
            async with self.client(base_url=f"https://localhost:{port}") as http:
                await _answers(http, 20)
            yield f"https://localhost:{port}", name
        finally:
            await run("docker", "rm", "--force", "--volumes", name)

    async def down(self) -> None:
        """Remove its containers, networks, volumes, and the names of its images."""
        await self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", seconds=120)
        names = (await run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")).split()
        if own := [name for name in names if name.endswith(f":{self.project}") or name.startswith(f"{self.project}-")]:
            await run("docker", "image", "rm", *own)


async def _answers(http: httpx.AsyncClient, seconds: float, *, for_good: float = 0.0) -> None:
    """Wait until the API has answered for a while: nginx may have cached that its name was gone (`valid=2s`)."""
    since: float | None = None

    async def does() -> bool:
        nonlocal since
        try:
            well = (await http.get("/livez")).status_code < 500
        except httpx.TransportError:
            well = False
        now = time.monotonic()
        since = (now if since is None else since) if well else None
        return since is not None and now - since >= for_good

    await until(does, seconds, f"the API answers at {http.base_url}")
