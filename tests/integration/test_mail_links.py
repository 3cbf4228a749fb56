"""Proving an address, and getting no more mail at it: by links that are mailed, without signing in."""

from __future__ import annotations

import re
from uuid import uuid4

import asyncpg
import pytest

from tests.factories import PASSWORD, Api, Person
from todo_core.purge import Purge

PREFERENCES = "/users/me/preferences"


async def link_token(api: Api, person: Person, database_url: str) -> str:
    """What the mail's link holds."""
    connection = await asyncpg.connect(database_url)
    verification = await connection.fetchval(
        "SELECT id FROM email_verifications WHERE account_id = $1 ORDER BY created_at DESC LIMIT 1", person.id
    )
    await connection.close()
    return api.process.links.verify_email(verification).partition("token=")[2]


async def test_an_address_is_proved_by_the_link_that_was_mailed_to_it(api: Api, lin: Person, database_url: str) -> None:
    asked = await lin.post("/users/me/verify-email")
    assert (asked.status_code, asked.json()) == (202, {"email": lin.email})
    again = await lin.post("/users/me/verify-email")
    assert (again.status_code, again.json()["code"]) == (429, "mailed_recently")
    assert 86_000 < int(again.headers["retry-after"]) <= 86_400
    token = await link_token(api, lin, database_url)
    page = await api.http.get("/verify-email", params={"token": token})
    assert page.status_code == 200
    assert "<form" in page.text
    assert (await lin.get("/users/me/")).json()["email_verified"] is False, "to look changes nothing"
    for _ in range(2):
        assert (await api.http.post("/users/verify-email", json={"token": token})).status_code == 204
    assert (await lin.get("/users/me/")).json()["email_verified"] is True
    assert (await lin.post("/users/me/verify-email")).json()["code"] == "already_verified"
    await lin.patch("/users/me/", json={"email": f"new-{lin.email}", "current_password": lin.password})
    assert (await lin.get("/users/me/")).json()["email_verified"] is False
    late = await api.http.post("/users/verify-email", json={"token": token})
    assert (late.status_code, late.json()["code"]) == (400, "invalid_link")


async def test_the_button_of_the_page_proves_the_address_too(api: Api, lin: Person, database_url: str) -> None:
    await lin.post("/users/me/verify-email")
    token = await link_token(api, lin, database_url)
    pressed = await api.http.post("/verify-email", params={"token": token}, headers={"Accept-Language": "zh"})
    assert (pressed.status_code, pressed.headers["content-language"]) == (200, "zh-CN")
    assert (await lin.get("/users/me/")).json()["email_verified"] is True


@pytest.mark.parametrize("path", ["/verify-email", "/unsubscribe"])
async def test_a_link_that_is_none_gets_a_page_that_says_so(api: Api, lin: Person, path: str) -> None:
    for token in ("", "nonsense", lin.tokens["access_token"]):
        for method in ("GET", "POST"):
            answer = await api.http.request(method, path, params={"token": token})
            assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")


async def test_one_click_ends_the_mails_without_a_sign_in(api: Api, lin: Person) -> None:
    token = api.process.links.unsubscribe(lin.id, lin.email).partition("token=")[2]
    assert "<form" in (await api.http.get("/unsubscribe", params={"token": token})).text
    assert (await lin.get(PREFERENCES)).json()["channels"]["email"] is True
    for _ in range(2):
        clicked = await api.http.post("/unsubscribe", params={"token": token}, data={"List-Unsubscribe": "One-Click"})
        assert clicked.status_code == 200
    assert (await lin.get(PREFERENCES)).json()["channels"]["email"] is False
    others = api.process.links.unsubscribe(lin.id, "else@example.com").partition("token=")[2]
    assert (await api.http.post("/unsubscribe", params={"token": others})).status_code == 200


async def sql(url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """Run one statement as nobody's request does."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def test_a_stranger_is_written_to_once_a_day_whoever_asks(api: Api, database_url: str) -> None:
    """Not even accounts that are opened with the address, and deleted, have it written to again."""
    email = f"stranger-{uuid4()}@example.com"
    first = await api.person(email=email)
    assert (await first.post("/users/me/verify-email")).status_code == 202
    await first.delete("/users/me", json={"password": PASSWORD})
    second = await api.person(email=email.upper())
    assert (await second.post("/users/me/verify-email")).status_code == 429
    await second.patch("/users/me", json={"email": f"own-{uuid4()}@example.com", "current_password": PASSWORD})
    assert (await second.post("/users/me/verify-email")).status_code == 202
    third = await api.person(email=email)
    refused = await third.post("/users/me/verify-email")
    assert (refused.status_code, refused.json()["code"]) == (429, "mailed_recently")
    rows = await sql(database_url, "SELECT email FROM email_verifications WHERE lower(email) = lower($1)", email)
    assert rows == []
    await sql(database_url, "UPDATE mailed_addresses SET mailed_at = mailed_at - interval '1 day'")
    assert (await third.post("/users/me/verify-email")).status_code == 202


async def test_what_remains_of_an_address_is_a_digest_and_is_purged_once_it_may_be_written_to(
    api: Api, lin: Person, database_url: str
) -> None:
    await sql(database_url, "DELETE FROM mailed_addresses")
    await lin.post("/users/me/verify-email")
    (row,) = await sql(database_url, "SELECT digest FROM mailed_addresses")
    assert lin.email.partition("@")[0] not in row["digest"]
    purge = Purge(api.process.database.statements)
    assert await purge.mailed_addresses() == 0
    await sql(database_url, "UPDATE mailed_addresses SET mailed_at = now() - interval '8 days'")
    assert await purge.mailed_addresses() == 1


async def test_a_link_that_was_not_sent_yet_is_not_sent_to_the_address_before(lin: Person, database_url: str) -> None:
    await lin.post("/users/me/verify-email")
    await lin.patch("/users/me", json={"email": f"new-{lin.email}", "current_password": lin.password})
    assert await sql(database_url, "SELECT id FROM email_verifications WHERE account_id = $1", lin.id) == []


async def test_an_address_that_changes_in_its_case_alone_has_to_be_proved_again(
    api: Api, lin: Person, database_url: str
) -> None:
    """Which case matters is up to its mail server, so it may be another mailbox."""
    await lin.post("/users/me/verify-email")
    token = await link_token(api, lin, database_url)
    await api.http.post("/users/verify-email", json={"token": token})
    changed = await lin.patch("/users/me", json={"email": lin.email.title(), "current_password": lin.password})
    assert (changed.status_code, changed.json()["email_verified"]) == (200, False)


async def test_the_same_address_sent_again_stays_proved(api: Api, lin: Person, database_url: str) -> None:
    await lin.post("/users/me/verify-email")
    await api.http.post("/users/verify-email", json={"token": await link_token(api, lin, database_url)})
    same = await lin.patch("/users/me", json={"email": lin.email, "current_password": lin.password})
    assert same.json()["email_verified"] is True


@pytest.mark.parametrize("body", [{}, {"token": None}, {"token": 5}, {"token": "x" * 2_001}, {"token": "x", "id": 1}])
async def test_a_proof_that_is_not_whole_is_refused_by_its_field(api: Api, body: dict[str, object]) -> None:
    assert (await api.http.post("/users/verify-email", json=body)).status_code == 422


async def test_no_link_proves_or_ends_anything_but_what_it_was_made_for(
    api: Api, lin: Person, database_url: str
) -> None:
    await lin.post("/users/me/verify-email")
    proof = await link_token(api, lin, database_url)
    ends = api.process.links.unsubscribe(lin.id, lin.email).partition("token=")[2]
    assert (await api.http.post("/users/verify-email", json={"token": ends})).status_code == 400
    assert (await api.http.post("/verify-email", params={"token": ends})).status_code == 400
    assert (await api.http.post("/unsubscribe", params={"token": proof})).status_code == 400
    for token in (proof, ends):
        answer = await api.http.get("/users/me/", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    assert (await lin.get("/users/me/")).json()["email_verified"] is False
    assert (await lin.get(PREFERENCES)).json()["channels"]["email"] is True


async def test_a_link_to_an_address_that_is_no_longer_the_accounts_ends_nothing(api: Api, lin: Person) -> None:
    """Whoever reads the mails of the address before has no say in those that go to the new one."""
    token = api.process.links.unsubscribe(lin.id, lin.email).partition("token=")[2]
    await lin.patch("/users/me", json={"email": f"new-{lin.email}", "current_password": lin.password})
    assert (await api.http.post("/unsubscribe", params={"token": token})).status_code == 200
    assert (await lin.get(PREFERENCES)).json()["channels"]["email"] is True
    await lin.delete("/users/me", json={"password": lin.password})
    assert (await api.http.post("/unsubscribe", params={"token": token})).status_code == 200


async def test_one_click_is_taken_in_every_form_that_rfc_8058_knows(api: Api, lin: Person) -> None:
    token = api.process.links.unsubscribe(lin.id, lin.email).partition("token=")[2]
    for options in (
        {"data": {"List-Unsubscribe": "One-Click"}},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {},
    ):
        await lin.patch(PREFERENCES, json={"channels": {"email": True}})
        clicked = await api.http.post("/unsubscribe", params={"token": token}, **options)
        assert clicked.status_code == 200
        assert (await lin.get(PREFERENCES)).json()["channels"] == {"inbox": True, "email": False, "webhook": True}


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_pages_let_nothing_else_run_and_tell_nobody_their_address(
    api: Api, lin: Person, language: str
) -> None:
    path = api.process.links.unsubscribe(lin.id, lin.email)
    page = await api.http.get(path, headers={"Accept-Language": language})
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["content-language"].startswith(language)
    assert re.findall(r"<script|https?://|javascript:", page.text) == []
    assert ("退订" in page.text) == (language == "zh")


async def test_what_was_asked_for_waits_for_the_worker(lin: Person, database_url: str) -> None:
    await lin.post("/users/me/verify-email")
    (row,) = await sql(
        database_url, "SELECT email, email_key, sent_at, used_at FROM email_verifications WHERE account_id = $1", lin.id
    )
    assert tuple(row) == (lin.email, lin.email, None, None)
