"""The production set, started as on a host: images by tag, secrets as files."""

from __future__ import annotations

import json
import os
import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.authority import Authority
from tests.stack.stack import Stack, run

DOMAIN = "todo.example.test"
FILES = ("compose.yaml", "compose.prod.yaml")
OWN_CERTIFICATE = "install -m 0644 /own/fullchain.pem /certificates/ && install -m 0640 /own/privkey.pem /certificates/"
OPTIONAL_SECRETS = ("email_password", "database_ca", "redis_ca")


def make_secrets(folder: Path, **given: str) -> dict[str, str]:
    """Write the files of ./secrets, and return their contents."""
    content = {
        "database_password": secrets.token_hex(16),
        "redis_password": secrets.token_hex(16),
        "token_keys": f"test:{secrets.token_hex(32)}",
        **dict.fromkeys(OPTIONAL_SECRETS, ""),
        **given,
    }
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in content.items():
        path = folder / name
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o444)
    return content


@contextmanager
def domain_is_here() -> Iterator[None]:
    """Resolve the domain to this machine, for this process only."""
    look_up = socket.getaddrinfo

    def with_ours(host: Any, *arguments: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host in (DOMAIN, DOMAIN.encode()) else host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", with_ours)
        yield


@dataclass
class Production(Stack):
    """compose.yaml with compose.prod.yaml on top. `ca` is the authority that its clients trust."""

    folder: Path = field(kw_only=True)
    """This test's folder: secrets and the servers' files."""
    extra_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ("db", "redis")

    @property
    def base_url(self) -> str:
        """Return the public address."""
        return f"https://{DOMAIN}:{self.https_port}"

    @property
    def env(self) -> dict[str, str]:
        """Return the variables of a host's .env, with free ports."""
        return super().env | {
            "COMPOSE_FILE": os.pathsep.join((*FILES, *self.extra_files)),
            "COMPOSE_PROFILES": ",".join(self.profiles),
            "PUBLIC_URL": self.base_url,
            "SECRETS_DIR": str(self.folder / "secrets"),
            "BIND_ADDRESS": "127.0.0.1",
            "PULL_POLICY": "never",
            "EMAIL_HOST": "",
            "WEBHOOK_ALLOWED_NETWORKS": "",
            **self.overrides,
        }

    async def build(self) -> None:
        """Build the images under this test's tag, from compose.yaml alone, as for a push to a registry."""
        services = ("api", "worker", "acme")
        await run(
            *("docker", "compose", "--file", "compose.yaml", "--profile", "acme", "build", "--quiet", *services),
            env=self.env,
            seconds=900,
        )

    async def bring_certificate(self) -> None:
        """Install an own certificate after docs/production.md, and set `ca` to its authority."""
        owner, own = Authority("Whoever signs ours"), self.folder / "own"
        own.mkdir()
        for name, text in zip(("fullchain.pem", "privkey.pem"), owner.issue(DOMAIN), strict=True):
            (own / name).write_text(text, encoding="utf-8")
        self.ca.write_text(owner.pem, encoding="utf-8")
        run_acme = ("run", "--rm", "--no-deps", "--no-TTY", "--volume", f"{own}:/own:ro", "acme", "sh", "-c")
        await self.compose(*run_acme, OWN_CERTIFICATE)

    async def up(self) -> None:
        """Start the services of its profiles, and wait until all are healthy."""
        await self.compose("up", "--detach", "--wait", "--wait-timeout", "180", seconds=200)

    def certificate(self) -> x509.Certificate:
        """Return the certificate that nginx presents, trusted or not."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.https_port), timeout=5)
        return x509.load_pem_x509_certificate(pem.encode())

    async def remove(self) -> None:
        """Remove everything, also of profiles that are not active now."""
        self.profiles = ("*",)
        await self.down()


async def config(env: dict[str, str], *files: str) -> dict[str, Any]:
    """Return the configuration that Compose makes of its files."""
    chosen = [part for file in files for part in ("--file", file)]
    text = await run("docker", "compose", *chosen, "config", "--format", "json", env=env)
    return dict(json.loads(text))
