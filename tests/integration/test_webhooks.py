"""Webhooks over HTTP: whose they are, where they may lead, and the secrets that they sign with."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.conftest import RunApi
from tests.factories import Person
from todo_core.settings import WebhookSettings


async def test_a_webhook_shows_its_secret_once_and_can_be_changed_rotated_and_deleted(lin: Person) -> None:
    created = await lin.post("/webhooks/", json={"url": "https://example.com/hook"})
    hook = created.json()
    assert (created.status_code, created.headers["cache-control"]) == (201, "no-store")
    assert hook["secret"].startswith("whsec_")
    (listed,) = (await lin.get("/webhooks/")).json()["items"]
    assert listed == {name: value for name, value in hook.items() if name != "secret"}
    path = f"/webhooks/{hook['id']}"
    changed = (await lin.patch(path, json={"url": "https://example.com/other", "active": False})).json()
    assert (changed["url"], changed["active"]) == ("https://example.com/other", False)
    assert "secret" not in changed
    rotated = (await lin.post(f"{path}/rotate-secret")).json()
    assert rotated["secret"] != hook["secret"]
    assert datetime.fromisoformat(rotated["previous_secret_until"]) > datetime.now(UTC) + timedelta(hours=23)
    assert (await lin.delete(path)).status_code == 204
    assert (await lin.get("/webhooks/")).json()["items"] == []
    assert (await lin.delete(path)).status_code == 404


async def test_switching_a_webhook_on_again_forgets_its_failures(lin: Person, database_url: str) -> None:
    hook = (await lin.post("/webhooks/", json={"url": "https://example.com/hook"})).json()
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "UPDATE webhooks SET active = false, failing_since = now(), disabled_at = now() WHERE id = $1", hook["id"]
    )
    await connection.close()
    again = (await lin.patch(f"/webhooks/{hook['id']}", json={"active": True})).json()
    assert (again["active"], again["failing_since"], again["disabled_at"]) == (True, None, None)


async def test_webhooks_are_few_and_their_owners_alone(lin: Person, wang: Person) -> None:
    hook = (await wang.post("/webhooks/", json={"url": "https://example.com/hook"})).json()
    for method, suffix, body in (
        ("PATCH", "", {"active": False}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", None),
    ):
        answer = await lin.request(method, f"/webhooks/{hook['id']}{suffix}", json=body)
        assert answer.status_code == 404
    for number in range(10):
        answer = await lin.post("/webhooks/", json={"url": f"https://example.com/{number}"})
        assert answer.status_code == 201
    assert (await lin.post("/webhooks/", json={"url": "https://example.com/11"})).status_code == 409


async def test_a_secret_is_256_bits_as_standard_webhooks_writes_them(lin: Person) -> None:
    hooks = [(await lin.post("/webhooks/", json={"url": "https://example.com/"})).json() for _ in range(2)]
    secrets = [base64.b64decode(hook["secret"].removeprefix("whsec_"), validate=True) for hook in hooks]
    assert [len(secret) for secret in secrets] == [32, 32]
    assert secrets[0] != secrets[1]


async def test_after_a_rotation_the_secret_before_signs_as_well_for_its_time(
    run_api: RunApi, database_url: str
) -> None:
    lin = await (await run_api(WebhookSettings(secret_overlap_seconds=600))).person()
    hook = (await lin.post("/webhooks/", json={"url": "https://example.com/"})).json()
    rotated = (await lin.post(f"/webhooks/{hook['id']}/rotate-secret")).json()
    left = datetime.fromisoformat(rotated["previous_secret_until"]) - datetime.now(UTC)
    assert timedelta(seconds=590) < left <= timedelta(seconds=600)
    connection = await asyncpg.connect(database_url)
    row = await connection.fetchrow("SELECT secret, previous_secret FROM webhooks WHERE id = $1", hook["id"])
    await connection.close()
    assert tuple(row) == (rotated["secret"], hook["secret"])


async def test_requests_at_once_do_not_make_one_webhook_too_many(lin: Person) -> None:
    asked = (lin.post("/webhooks/", json={"url": f"https://example.com/{number}"}) for number in range(14))
    statuses = sorted([answer.status_code for answer in await asyncio.gather(*asked)])
    assert statuses == [201] * 10 + [409] * 4
    assert len((await lin.get("/webhooks/")).json()["items"]) == 10


async def test_an_exception_lets_a_private_network_be_called_and_no_other(run_api: RunApi) -> None:
    lin = await (await run_api(WebhookSettings(allowed_networks="10.1.0.0/16, 127.0.0.1"))).person()
    for url, status in (
        ("http://10.1.2.3:8080/hook", 201),
        ("http://localhost/", 201),
        ("http://10.2.0.1/", 422),
        ("http://127.0.0.2/", 422),
    ):
        assert (await lin.post("/webhooks/", json={"url": url})).status_code == status, url


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://169.254.169.254/latest",
        "http://0177.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
    ],
)
async def test_a_private_address_is_refused_in_every_spelling(lin: Person, url: str) -> None:
    answer = await lin.post("/webhooks/", json={"url": url}, headers={"Accept-Language": "zh"})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["rule"], error["detail"]) == ("webhook_address", "必须指向公网地址：该地址属于私有网络或本机")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (5, "string"),
        (None, "null"),
        ("", "url"),
        ("ftp://example.com", "url"),
        ("https://", "url"),
        ("https://example.com/" + "x" * 2_000, "max_length"),
        ("https://user@example.com/", "url_credentials"),
        ("https://:@example.com/", "url_credentials"),
        ("https://example.com/#", "url_fragment"),
        ("https://exa mple.com/", "url"),
        ("https://example.com/a\nb", "url"),
        ("https://example.com\\@10.0.0.1/", "url"),
        ("https://例子.com/", "url"),
        ("https://example.com:0/", "url"),
        ("https://example.com:99999/", "url"),
        ("https://[::1", "url"),
        ("https:///path", "url"),
        ("//example.com/", "url"),
        ("javascript:alert(1)", "url"),
        ("file:///etc/passwd", "url"),
    ],
)
async def test_what_is_no_plain_web_address_is_refused_by_its_rule(lin: Person, url: Any, rule: str) -> None:
    answer = await lin.post("/webhooks/", json={"url": url})
    assert answer.status_code == 422
    assert [(error["field"], error["rule"]) for error in answer.json()["errors"]] == [("url", rule)]
    assert (await lin.get("/webhooks/")).json()["items"] == []


@pytest.mark.parametrize(
    "url",
    [
        "HTTP://Example.COM:8080/Path;x=1?a=b&c=%20#"[:-1],
        "https://xn--fsqu00a.xn--0zwm56d/",
        "https://8.8.8.8/",
        "https://[2001:4860:4860::8888]:443/",
        "https://example.com/" + "x" * 1_980,
        "https://a_b.example.com.",
    ],
)
async def test_a_public_web_address_is_kept_as_it_is(lin: Person, url: str) -> None:
    answer = await lin.post("/webhooks/", json={"url": url})
    assert (answer.status_code, answer.json().get("url")) == (201, url)


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"url": None}, "url", "null"),
        ({"active": None}, "active", "null"),
        ({"active": 1}, "active", "boolean"),
        ({"url": "http://10.0.0.1/"}, "url", "webhook_address"),
        ({"url": "http://[::ffff:0:7f00:1]/"}, "url", "webhook_address"),
        ({"secret": "whsec_mine"}, "secret", "unknown_field"),
    ],
)
async def test_a_change_of_a_webhook_that_breaks_a_rule_is_refused_whole(
    lin: Person, body: dict[str, Any], field: str, rule: str
) -> None:
    hook = (await lin.post("/webhooks/", json={"url": "https://example.com/"})).json()
    answer = await lin.patch(f"/webhooks/{hook['id']}", json={"active": False, **body})
    assert (answer.status_code, [(e["field"], e["rule"]) for e in answer.json()["errors"]]) == (422, [(field, rule)])
    (listed,) = (await lin.get("/webhooks/")).json()["items"]
    assert (listed["url"], listed["active"]) == ("https://example.com/", True)


async def test_another_address_forgets_the_failures_of_the_one_before_and_stays_off(
    lin: Person, database_url: str
) -> None:
    hook = (await lin.post("/webhooks/", json={"url": "https://example.com/"})).json()
    path = f"/webhooks/{hook['id']}"
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "UPDATE webhooks SET active = false, failing_since = now(), disabled_at = now() WHERE id = $1", hook["id"]
    )
    await connection.close()
    same = (await lin.patch(path, json={"url": "https://example.com/"})).json()
    assert same["failing_since"] is not None
    moved = (await lin.patch(path, json={"url": "https://example.com/new"})).json()
    assert (moved["failing_since"], moved["active"]) == (None, False)
    assert moved["disabled_at"] is not None
    assert (await lin.patch(path, json={})).json() == moved


async def test_a_webhook_that_is_nobodys_is_not_found(lin: Person) -> None:
    for method, suffix in (("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret")):
        body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        answer = await lin.request(method, f"/webhooks/{uuid4()}{suffix}", **body)
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found")
        assert (await lin.request(method, f"/webhooks/7{suffix}", **body)).status_code == 422
