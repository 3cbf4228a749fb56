"""The public certificate of the production set: issued, renewed, and loaded without a dropped connection.

Pebble, the test server of Let's Encrypt, is the authority. It validates the domain as a real one does: from outside, by
plain HTTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from certificates.keeper import ASK_NOW
from tests.authority import Authority
from tests.stack.load import Load, Options
from tests.stack.production import DOMAIN, Production, domain_is_here, make_secrets
from tests.stack.waiting import until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(420)]
PEBBLE = "tests/stack/compose.pebble.yaml"
DIRECTORY = "https://pebble:14000/dir"
TAKEN_UP_WITHIN = 15.0
"""Seconds until nginx presents a new certificate: it checks every five seconds."""
PORT_80 = 8080
"""The port inside the container on which nginx listens for plain HTTP."""


@dataclass
class Site:
    """A production host with Pebble around it."""

    production: Production
    own_certificate: x509.Certificate
    """The certificate that nginx presented first."""
    redirect: httpx.Response
    """The answer of plain HTTP at that time."""
    root: str
    """The root certificate of the authority."""
    lineage: str

    @property
    def tls(self) -> ssl.SSLContext:
        """Return a TLS context that trusts only the authority."""
        return ssl.create_default_context(cadata=self.root)

    async def ask_now(self) -> None:
        """Request a renewal now, as an operator would."""
        await self.production.inside("acme", *shlex.split(ASK_NOW.partition(" acme ")[2]))

    async def said(self, event: str, since: int = 0) -> list[dict[str, Any]]:
        """Return `acme`'s log lines of this event, without the first `since`."""
        lines = await self.production.lines("acme")
        return [line for line in lines if line["event"] == event][since:]

    async def asked(self, what: str) -> int:
        """Return how many of the authority's log lines contain this."""
        container = await self.production.container("pebble")
        return (await self.production.log_of(container["Id"])).count(what)

    async def revoke(self) -> None:
        """Revoke the certificate for a compromised key. The authority then asks for renewal at once."""
        await self.production.compose(
            *("exec", "--no-TTY", "--env", "REQUESTS_CA_BUNDLE=/pebble/ca.pem", "acme", "certbot", "revoke"),
            *("--non-interactive", "--no-delete-after-revoke", "--server", DIRECTORY, "--cert-name", self.lineage),
            *("--config-dir", "/var/lib/acme", "--work-dir", "/tmp/certbot", "--logs-dir", "/tmp/certbot-logs"),
        )

    async def six_hours_go_by(self) -> None:
        """Make certbot ask again when to renew: it asks no more often than the authority allows."""
        await self.production.inside("acme", "sh", "-c", "sed -i /ari_retry_after/d /var/lib/acme/renewal/*.conf")

    async def shown(self) -> int:
        """Return the serial number of the certificate on new connections."""
        return (await asyncio.to_thread(self.production.certificate)).serial_number


def _write_pebble(folder: Path) -> Authority:
    """Write Pebble's settings and its own server certificate."""
    authority = Authority("Nobody public")
    certificate, key = authority.issue("pebble", "127.0.0.1")
    settings = {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/pebble/cert.pem",
        "privateKey": "/pebble/key.pem",
        "httpPort": PORT_80,
        "tlsPort": 8443,
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": 90 * 24 * 3600,
    }
    folder.mkdir()
    for name, text in {
        "ca.pem": authority.pem,
        "cert.pem": certificate,
        "key.pem": key,
        "config.json": json.dumps({"pebble": settings}),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o444)
    return authority


@pytest.fixture(scope="module", autouse=True)
def _domain() -> Iterator[None]:
    with domain_is_here():
        yield


@pytest.fixture(scope="module")
async def site(engine: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Start the site: first without `acme`, then with it, until it is healthy."""
    folder = tmp_path_factory.mktemp("production")
    make_secrets(folder / "secrets")
    authority = _write_pebble(folder / "pebble")
    production = Production(
        f"todo-prod-{os.getpid()}",
        folder / "root.pem",
        folder=folder,
        extra_files=(PEBBLE,),
        overrides={"PEBBLE_DIR": str(folder / "pebble"), "API_REPLICAS": "2"},
    )
    try:
        await production.build()
        await production.up()
        own = await asyncio.to_thread(production.certificate)
        async with httpx.AsyncClient(trust_env=False) as plain:
            redirect = await plain.get(f"http://{DOMAIN}:{production.http_port}/todos/?limit=3")
        production.profiles = ("db", "redis", "acme")
        await production.up()
        address = (await production.compose("port", "pebble", "15000")).strip()
        trust = ssl.create_default_context(cadata=authority.pem)
        async with httpx.AsyncClient(verify=trust, trust_env=False) as management:
            root = (await management.get(f"https://{address}/roots/0")).raise_for_status().text
        production.ca.write_text(root, encoding="utf-8")
        lineage = (await production.inside("acme", "sh", "-c", "cd /var/lib/acme/live && echo */")).strip().rstrip("/")
        yield Site(production, own, redirect, root, lineage)
    finally:
        await production.remove()


async def test_the_first_certificate_is_issued_from_nothing_and_nginx_takes_it_up_by_itself(site: Site) -> None:
    assert site.own_certificate.subject.rfc4514_string() == "CN=bootstrap.invalid"
    assert site.redirect.status_code == 308
    assert site.redirect.headers["location"] == f"{site.production.base_url}/todos/?limit=3"

    async def trusted() -> bool:
        try:
            async with site.production.client() as http:
                answer = await http.get("/livez")
        except httpx.ConnectError:
            return False
        assert answer.headers["strict-transport-security"] == "max-age=63072000"
        return answer.status_code == 200

    await until(trusted, TAKEN_UP_WITHIN, "nginx shows a certificate that chains to the authority's root")
    issued = await asyncio.to_thread(site.production.certificate)
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [DOMAIN]
    owners = await site.production.inside(
        "acme", "sh", "-c", "cd /certificates && stat --format '%n %a %u:%g' privkey.pem fullchain.pem"
    )
    assert owners.splitlines() == ["privkey.pem 640 10001:101", "fullchain.pem 644 10001:101"]


@dataclass
class KeptAlive:
    """A client that keeps one connection as long as possible, and records if it ends without notice."""

    site: Site
    answers: int = 0
    closed_politely: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send two requests a second until the end; each must be answered on its connection."""
        while not self.over.is_set():
            reader, writer = await asyncio.open_connection(
                DOMAIN, self.site.production.https_port, ssl=self.site.tls, server_hostname=DOMAIN
            )
            while not self.over.is_set():
                writer.write(f"GET /livez HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                assert head.startswith("http/1.1 200 ")
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
                self.answers += 1
                if "connection: close" in head:
                    self.closed_politely += 1
                    break
                await asyncio.sleep(0.5)
            writer.close()


async def test_a_renewal_that_the_authority_asks_for_reaches_nginx_without_a_dropped_connection(site: Site) -> None:
    kept = KeptAlive(site)
    keeping = asyncio.create_task(kept.run())
    load = Load(Options(site.production.base_url, site.production.ca, rate=20))
    try:
        await load.start()
        before, handed_over = await site.shown(), len(await site.said("certificate_handed_over"))
        asked = await site.asked("renewalInfo")

        # Good for 90 days: no timer would renew it. But the authority, asked, says that it has to be replaced.
        await site.revoke()
        await site.six_hours_go_by()
        await site.ask_now()

        async def new_one() -> bool:
            return await site.shown() != before

        await until(new_one, 30 + TAKEN_UP_WITHIN, "nginx shows another certificate")
        reloaded = time.time()
        assert await site.asked("renewalInfo") == asked + 1, "it was asked when to renew (ARI)"
        assert len(await site.said("certificate_handed_over")) == handed_over + 1
        await asyncio.sleep(20)  # the stream and the connected clients go on
        await load.stop()
        kept.over.set()
        await keeping
        assert load.tally.failures == [], str(load.tally)
        assert load.tally.total > 500
        assert load.tally.answered["stream"] == 1, "one event stream, from before the reload to the end"
        assert load.events.seen[-1].at > reloaded, "it told of reminders after the reload as well"
        assert await load.faults() == []
        assert kept.closed_politely >= 1, "the old nginx worker asked it to connect anew, in an answer"
        assert kept.answers > 40
    finally:
        keeping.cancel()
        await load.close()


async def test_one_that_was_told_to_ask_now_is_still_started_again_when_it_breaks(site: Site) -> None:
    kept = len(await site.said("certificate_kept"))
    await site.ask_now()
    await until(lambda: site.said("certificate_kept", kept), 60, "it has asked")
    before = await site.production.container("acme")
    await site.production.inside("acme", "sh", "-c", "kill -KILL $(cat /proc/1/task/1/children)")

    async def again() -> bool:
        after = await site.production.container("acme")
        return bool(after["State"]["Running"] and after["State"]["StartedAt"] != before["State"]["StartedAt"])

    await until(again, 60, "Docker has started it again")


async def test_a_failure_is_said_in_one_line_and_a_restart_does_not_ask_the_authority_again(site: Site) -> None:
    production = site.production
    shown = await site.shown()
    try:
        # A domain that leads nowhere: the authority is asked, and refuses.
        production.overrides["ACME_DOMAINS"] = f"{DOMAIN},absent.example.test"
        await production.compose("up", "--detach", "--no-deps", "acme")

        async def failure() -> dict[str, Any] | None:
            lines = await site.said("certificate_failed")
            return lines[0] if lines else None

        failed = await until(failure, 60, "a line about the failure")
        assert failed is not None
        assert failed["domains"] == [DOMAIN, "absent.example.test"]
        assert "absent.example.test" in failed["problem"]
        assert failed["failures"] == 1
        assert 300 <= failed["retry_seconds"] <= 330
        orders = await site.asked("order-plz")

        await production.compose("restart", "acme")
        waiting = await until(lambda: site.said("waiting_after_failures"), 30, "it says that it waits")
        assert 0 < waiting[0]["seconds"] <= failed["retry_seconds"]
        assert await site.asked("order-plz") == orders
        assert await site.shown() == shown, "nginx goes on with the certificate that it has"
    finally:
        del production.overrides["ACME_DOMAINS"]
        await production.compose("up", "--detach", "--wait", "--no-deps", "acme")
