"""PostgreSQL and Redis like a cloud's managed ones: outside the project, with passwords and their own TLS authority."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.authority import Authority
from tests.stack.stack import CommandFailed, run
from tests.stack.waiting import until

POSTGRES_NAME, REDIS_NAME = "postgres0123.rds-pg.example.test", "redis-0123.redis.example.test"
OTHER_NAME = "alias.rds-pg.example.test"
"""Another name of PostgreSQL, which is not in its certificate."""
_READ_ONLY = "/tls"

# Who comes without TLS is not let in.
_HBA = "local all all trust\nhostssl all all all scram-sha-256\n"
# The key has to be PostgreSQL's own, and no one else's to read.
_POSTGRES = """
install -m 0600 /tls/postgres.key /tmp/server.key
exec docker-entrypoint.sh postgres -c ssl=on -c ssl_min_protocol_version=TLSv1.2 -c hba_file=/tls/hba.conf \
    -c ssl_cert_file=/tls/postgres.pem -c ssl_key_file=/tmp/server.key
"""
_REDIS = """
exec redis-server --port 0 --tls-port 6379 --tls-cert-file /tls/redis.pem --tls-key-file /tls/redis.key \
    --tls-auth-clients no --save '' --requirepass "$(cat /tls/redis_password)"
"""


@dataclass
class Managed:
    """Both servers, in their own network."""

    name: str
    folder: Path
    authority: Authority = field(default_factory=lambda: Authority("The cloud's authority"))
    database_password: str = field(default_factory=lambda: secrets.token_urlsafe(24) + "/@:%")
    redis_password: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def database_url(self) -> str:
        """As docs/production.md says."""
        return f"postgresql://todo@{POSTGRES_NAME}:5432/todo?sslmode=verify-full&sslrootcert=/run/secrets/database_ca"

    @property
    def redis_url(self) -> str:
        """As docs/production.md says."""
        return f"rediss://{REDIS_NAME}:6379/0?ssl_ca_certs=/run/secrets/redis_ca"

    def _write(self) -> None:
        self.folder.mkdir()
        files = {"hba.conf": _HBA, "redis_password": self.redis_password, "ca.pem": self.authority.pem}
        for server, name in (("postgres", POSTGRES_NAME), ("redis", REDIS_NAME)):
            files[f"{server}.pem"], files[f"{server}.key"] = self.authority.issue(name)
        for file, text in files.items():
            (self.folder / file).write_text(text, encoding="utf-8")
            (self.folder / file).chmod(0o444)

    async def _server(self, kind: str, image: str, script: str, *options: str) -> None:
        await run(
            *("docker", "run", "--detach", "--rm", "--init", "--name", f"{self.name}-{kind}", "--user", "999:999"),
            *("--network", self.name, "--volume", f"{self.folder}:{_READ_ONLY}:ro", *options),
            *("--entrypoint", "bash", image, "-c", script),
        )

    async def start(self) -> None:
        """Make the network, start both, and wait until they answer."""
        self._write()
        await run("docker", "network", "create", self.name)
        await self._server(
            *("postgres", "postgres:17-trixie", _POSTGRES),
            *("--network-alias", POSTGRES_NAME, "--network-alias", OTHER_NAME),
            *("--env", "POSTGRES_USER=todo", "--env", "POSTGRES_DB=todo"),
            *("--env", f"POSTGRES_PASSWORD={self.database_password}"),
        )
        await self._server("redis", "redis:8.0-trixie", _REDIS, "--network-alias", REDIS_NAME)

        async def both_answer() -> bool:
            try:
                # By TCP, which its first, preparing start does not listen on.
                await run("docker", "exec", f"{self.name}-postgres", "pg_isready", "--quiet", "--host", "127.0.0.1")
                return "PONG" in await self.redis("PING")
            except CommandFailed:
                return False

        await until(both_answer, 60, "the managed servers answer")

    async def sql(self, statement: str) -> str:
        """Run a statement and return PostgreSQL's answer."""
        psql = ("psql", "-U", "todo", "-d", "todo", "-qAt", "-c", statement)
        return (await run("docker", "exec", f"{self.name}-postgres", *psql)).strip()

    async def redis(self, *command: str) -> str:
        """Run a command and return Redis's answer."""
        cli = ("redis-cli", "--tls", "--insecure", *command)
        return await run(
            *("docker", "exec", "--env", f"REDISCLI_AUTH={self.redis_password}", f"{self.name}-redis"), *cli
        )

    async def remove(self) -> None:
        """Remove both servers with their data, and the network."""
        for kind in ("postgres", "redis"):
            try:
                await run("docker", "rm", "--force", "--volumes", f"{self.name}-{kind}")
            except CommandFailed as error:
                if "No such container" not in str(error):
                    raise
        await run("docker", "network", "rm", self.name)


@asynccontextmanager
async def managed_servers(name: str, folder: Path) -> AsyncIterator[Managed]:
    """Run both servers for the length of the block."""
    servers = Managed(name, folder)
    try:
        await servers.start()
        yield servers
    finally:
        await servers.remove()
