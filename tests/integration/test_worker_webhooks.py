"""The addresses that webhooks may reach, and the switching off of those that fail for long."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis

from tests.receivers import HttpReceiver, SmtpReceiver, http_receiver
from tests.worker_kit import HASTY, Office, eventually
from todo_core.settings import WebhookSettings

NO_TLS = "no TLS connection: the certificate or the protocol does not suit"


class Names(AbstractResolver):
    """A DNS of the test's own. A name may have another address each time that it is asked for."""

    def __init__(self, **addresses: list[str]) -> None:
        self._addresses = addresses
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self._addresses[host.removesuffix(".test")]
        address = found.pop(0) if len(found) > 1 else found[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing to do."""


async def delivered_to(office: Office, url: str, allowed: str = "", resolver: AbstractResolver | None = None) -> Any:
    """Return how a delivery to a URL ends, when only these networks are allowed beside public ones."""
    await office.remind(await office.webhook_account(url))
    settings = office.but(WebhookSettings(allowed_networks=allowed))
    await office.start(settings=settings, resolver=resolver)

    async def tried() -> bool:
        return bool(await office.sql.fetchval("SELECT state <> 'pending' OR last_error IS NOT NULL FROM deliveries"))

    await eventually(tried)
    return await office.delivery()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "localhost",
        "name.test",
    ],
)
async def test_no_webhook_reaches_this_machine_however_it_is_spelt(
    office: Office, http: HttpReceiver, host: str
) -> None:
    resolver = Names(name=["127.0.0.1"]) if host == "name.test" else None
    delivery = await delivered_to(office, f"http://{host}:{http.port}/", resolver=resolver)
    assert delivery["state"] == "dead"
    assert delivery["last_error"] in {"the address is not public", "the URL is not valid"}
    assert http.ledger == []


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00::1"])
async def test_a_name_that_resolves_to_a_private_address_is_refused(office: Office, address: str) -> None:
    delivery = await delivered_to(office, "http://name.test/", resolver=Names(name=[address]))
    assert (delivery["state"], delivery["last_error"]) == ("dead", "the address is not public")


async def test_what_counts_is_the_address_that_is_connected_to_and_not_an_earlier_answer(
    office: Office, http: HttpReceiver
) -> None:
    # A name that was public when it was looked at first, and is private when it matters.
    names = Names(name=["192.0.2.1", "127.0.0.1"])
    await office.remind(await office.webhook_account(f"http://name.test:{http.port}/"))
    await office.start(settings=office.but(WebhookSettings(allowed_networks="192.0.2.0/24", connect_seconds=0.1)),
                       resolver=names)  # fmt: skip
    await office.settled()
    delivery = await office.delivery()
    assert (delivery["state"], delivery["last_error"]) == ("dead", "the address is not public")
    assert len(names.asked) == 2
    assert http.ledger == []


async def test_an_exception_opens_its_network_and_the_host_header_stays_the_name(
    office: Office, http: HttpReceiver
) -> None:
    url = f"http://name.test:{http.port}/"
    delivery = await delivered_to(office, url, "127.0.0.1/32", Names(name=["127.0.0.1"]))
    assert delivery["state"] == "sent"
    assert http.ledger[0].headers["host"] == f"name.test:{http.port}"


async def test_a_redirect_to_a_private_address_is_not_followed(office: Office, http: HttpReceiver) -> None:
    http.status = 302
    http.extra = b"location: http://169.254.169.254/latest/meta-data/\r\n"
    delivery = await delivered_to(office, http.url, "127.0.0.0/8")
    assert (delivery["state"], delivery["last_error"]) == ("pending", "HTTP 302")


async def test_a_receiver_that_cannot_be_reached_is_tried_again(office: Office) -> None:
    delivery = await delivered_to(office, "http://127.0.0.1:1/", "127.0.0.0/8")
    assert (delivery["state"], delivery["last_error"]) == ("pending", "no connection")


async def test_a_receiver_that_speaks_no_tls_is_tried_again(office: Office, smtp: SmtpReceiver) -> None:
    delivery = await delivered_to(office, f"https://127.0.0.1:{smtp.port}/", "127.0.0.0/8")
    assert (delivery["state"], delivery["last_error"]) == ("pending", NO_TLS)


@pytest.mark.parametrize(
    ("name", "trusted", "state"),
    [("name.test", True, "sent"), ("name.test", False, "pending"), ("other.test", True, "pending")],
)
async def test_a_certificate_has_to_be_trusted_and_of_that_name(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, trusted: bool, state: str
) -> None:
    certificate = make_certificate(tmp_path, "name.test")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with http_receiver(context) as http:
        url = f"https://{name}:{http.port}/"
        delivery = await delivered_to(office, url, "127.0.0.0/8", Names(name=["127.0.0.1"], other=["127.0.0.1"]))
    assert (delivery["state"], delivery["last_error"]) == (state, None if state == "sent" else NO_TLS)


def make_certificate(directory: Path, name: str) -> Path:
    """A key and a certificate that it signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return path


async def test_a_name_that_does_not_resolve_is_tried_again(office: Office) -> None:
    delivery = await delivered_to(office, "http://name.invalid/")
    assert (delivery["state"], delivery["last_error"]) == ("pending", "the host name does not resolve")


async def test_a_receiver_that_does_not_answer_is_timed_out_and_tried_again(office: Office, http: HttpReceiver) -> None:
    http.behaviour = "stall"
    hasty = replace(office, settings=office.with_worker(**HASTY))
    delivery = await delivered_to(hasty, http.url, "127.0.0.0/8")
    assert (delivery["state"], delivery["last_error"]) == ("pending", "timed out")
    assert await office.sql.fetchval("SELECT failing_since IS NOT NULL FROM webhooks")


# ---- hanging


async def receivers(office: Office, http: HttpReceiver, count: int, each: int) -> list[str]:
    """Insert `count` accounts, each with a webhook and `each` due reminders; return the webhooks' paths."""
    paths = [f"/{number}" for number in range(count)]
    for path in paths:
        lin = await office.webhook_account(f"{http.url}{path}")
        await office.remind_often(lin, each)
    return paths


async def answered_beside(office: Office, http: HttpReceiver) -> None:
    """Another receiver gets all of its twenty, while all that hang are still waited for."""
    hanging = http.under_way
    lin = await office.webhook_account(f"{http.url}/healthy")
    await office.remind_often(lin, 20)
    await eventually(lambda: [posted.path for posted in http.ledger].count("/healthy") == 20, 8)
    assert http.under_way >= hanging, "none was given up for it"


async def test_thirty_receivers_that_hang_have_one_slot_each_and_hold_up_no_other(
    office: Office, http: HttpReceiver
) -> None:
    http.paths |= dict.fromkeys(await receivers(office, http, 30, 8), "stall")
    await office.start(webhook_slots=40, send_seconds=15.0)
    async with asyncio.timeout(10):
        await http.wait_for(30)
    await answered_beside(office, http)
    assert http.most_under_way <= 40
    assert {path: [posted.path for posted in http.ledger].count(path) for path in http.paths} == dict.fromkeys(
        http.paths, 1
    )


async def test_thirty_receivers_that_answered_and_hang_now_leave_slots_for_others(
    office: Office, http: HttpReceiver
) -> None:
    paths = await receivers(office, http, 30, 1)
    await office.start(webhook_slots=60, send_seconds=15.0)
    await office.settled(30)
    http.paths |= dict.fromkeys(paths, "stall")
    for row in await office.sql.fetch("SELECT id::text AS id FROM accounts"):
        await office.remind_often(row["id"], 8)
    async with asyncio.timeout(10):
        await http.wait_for(30 + 57)  # half of the slots by eights, then one each
    await answered_beside(office, http)


# ---- failing for long


async def failing_for(office: Office, http: HttpReceiver, **ago: float) -> str:
    """Insert an account whose webhook has failed for so long, with two more reminders waiting; return its id."""
    http.status = 500
    lin = await office.account()
    await office.only(lin, "webhook")
    await office.webhook(lin, http.url, failing_since=datetime.now(UTC) - timedelta(**ago))
    await office.remind(lin)
    return lin


async def is_off(office: Office) -> bool:
    """Tell whether the webhook has been switched off."""
    return bool(await office.sql.fetchval("SELECT NOT active AND disabled_at IS NOT NULL FROM webhooks"))


async def test_a_webhook_that_fails_for_days_is_switched_off_and_its_owner_is_told(
    office: Office, http: HttpReceiver, redis_url: str
) -> None:
    lin = await failing_for(office, http, days=3, minutes=1)
    async with Redis.from_url(redis_url) as redis, redis.pubsub() as listener:
        await listener.subscribe(f"todo:inbox:{lin}")
        await listener.get_message(timeout=5)
        await office.start()
        await eventually(lambda: is_off(office))
        await office.settled()
        message = await listener.get_message(ignore_subscribe_messages=True, timeout=5)
    assert json.loads(message["data"]) == {"seq": 1}
    (notice,) = await office.sql.fetch("SELECT kind, title, account_id::text AS account FROM notifications")
    assert dict(notice) == {"kind": "webhook_disabled", "title": http.url, "account": lin}
    assert await office.states() == {"cancelled": 1}


async def test_a_webhook_that_has_failed_for_less_stays(office: Office, http: HttpReceiver) -> None:
    await failing_for(office, http, days=2, hours=23)
    await office.start()
    async with asyncio.timeout(10):
        await http.wait_for(3)
    assert not await is_off(office)


async def test_one_success_ends_the_count_of_failures(office: Office, http: HttpReceiver) -> None:
    await failing_for(office, http, days=10)
    http.status = 200
    await office.start()
    await office.settled()
    assert await office.sql.fetchval("SELECT failing_since IS NULL AND active FROM webhooks")


async def test_a_receiver_that_is_gone_for_good_is_asked_no_more(office: Office, http: HttpReceiver) -> None:
    lin = await office.webhook_account(http.url)
    await office.remind_often(lin, 5)
    http.status = 410
    await office.start(endpoint_slots=1)
    await office.settled(5)
    assert await is_off(office)
    assert len(http.ledger) == 1
    # The one that was answered is cancelled with the others: switching off did that first.
    assert await office.states() == {"cancelled": 5}
    assert await office.sql.fetchval("SELECT count(*) FROM notifications WHERE kind = 'webhook_disabled'") == 1
