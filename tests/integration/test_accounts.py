"""Accounts over HTTP: opening one, changing it, leaving, and who is let in meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import RunApi
from tests.factories import PASSWORD, Api, Person
from todo_core.accounts.turns import Asker
from todo_core.settings import PasswordSettings

ACCOUNT_FIELDS = {"id", "username", "email", "email_verified", "timezone", "locale", "created_at"}
_numbers = itertools.count(1)


def details(**fields: Any) -> dict[str, Any]:
    """What opens an account that nobody has yet; a field given as `...` is left out."""
    number = next(_numbers)
    chosen = {"username": f"newcomer{number}", "email": f"newcomer{number}@example.com", "password": PASSWORD, **fields}
    return {name: value for name, value in chosen.items() if value is not ...}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A look at the rows themselves."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def unchanged(api: Api) -> Person:
    """Somebody on whom all that is tried is refused."""
    return await api.person()


# ---- opening one -----------------------------------------------------------------------------------------------------


async def test_a_new_account_answers_with_all_but_its_secrets(api: Api) -> None:
    asked = details(timezone="Asia/Shanghai", locale="zh-CN")
    answer = await api.http.post("/users/", json=asked)
    account = answer.json()
    assert answer.status_code == 201
    assert account.keys() == ACCOUNT_FIELDS
    assert {name: account[name] for name in ("username", "email", "timezone", "locale")} == {
        name: asked[name] for name in ("username", "email", "timezone", "locale")
    }
    assert UUID(account["id"]).version == 7
    assert abs((datetime.fromisoformat(account["created_at"]) - datetime.now(UTC)).total_seconds()) < 60
    assert PASSWORD not in answer.text
    assert "$2b$" not in answer.text


async def test_the_password_is_stored_as_a_bcrypt_hash_and_nowhere_as_it_is(
    lin: Person, database: asyncpg.Connection
) -> None:
    row = await database.fetchrow("SELECT password_hash, a::text AS everything FROM accounts a WHERE id = $1", lin.id)
    assert row["password_hash"].startswith("$2b$")
    assert PASSWORD not in row["everything"]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_accounts_are_opened_with_and_without_the_trailing_slash(api: Api, slash: str) -> None:
    assert (await api.http.post(f"/users{slash}", json=details())).status_code == 201


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "林小明"},
        {"email": "林@例子.广告"},
        {"password": ("🥛🍞🧀🍎🐄" * 26)[:128]},
        {"timezone": "America/Argentina/Buenos_Aires"},
        {"locale": "zh-Hans-CN"},
        {"locale": None},
    ],
)
async def test_every_value_within_the_rules_is_taken(api: Api, fields: dict[str, Any]) -> None:
    asked = details(**fields)
    answer = await api.http.post("/users/", json=asked)
    assert answer.status_code == 201, answer.text
    assert (await api.http.post("/token", data=asked)).status_code == 200
    # Each of these names can be had once only, and tests may run twice on one database.
    tokens = await api.sign_in(asked["email"], asked["password"])
    signed = {"Authorization": f"Bearer {tokens['access_token']}"}
    password = {"password": asked["password"]}
    assert (await api.http.request("DELETE", "/users/me/", json=password, headers=signed)).status_code == 204


# A value for each rule of each field; tests/unit/test_fields.py has every border.
BAD_VALUES: list[tuple[str, Any, str]] = [
    ("username", None, "null"),
    ("username", 12345, "string"),
    ("username", "ab", "username"),
    ("username", "a" + "\u0300\u0316" * 200_000, "username"),
    ("email", None, "null"),
    ("email", 5, "string"),
    ("email", "lin", "email"),
    ("email", "lin@example.com\nBcc: everyone@example.com", "email"),
    ("email", "a" + "\u0300\u0316" * 200_000 + "@example.com", "email"),
    ("password", None, "null"),
    ("password", 1234567890, "string"),
    ("password", "x" * 9, "min_length"),
    ("password", "x" * 129, "max_length"),
    ("password", "nul \x00 inside", "nul"),
    ("timezone", None, "null"),
    ("timezone", "Mars/Olympus_Mons", "timezone"),
    ("timezone", "../../../etc/passwd", "timezone"),
    ("locale", 1, "string"),
    ("locale", "fr", "locale"),
]
UNKNOWN_FIELDS: list[tuple[str, Any, str]] = [
    (name, value, "unknown_field")
    for name, value in {"id": 1, "is_admin": True, "password_hash": "x", "auth_version": 9, "Username": "lin"}.items()
]


@pytest.mark.parametrize(
    ("sent", "nearest"),
    [
        ("asia/shanghia", "Asia/Shanghai"),
        ("Shanghai", "Asia/Shanghai"),
        ("America/Buenos_Aires_", "America/Buenos_Aires"),
        ("x" * 1_000_000, "Asia/Shanghai"),
    ],
)
async def test_a_wrong_time_zone_is_answered_with_the_nearest_ones(api: Api, sent: str, nearest: str) -> None:
    for language, words in (("en", "must be an IANA time zone, such as "), ("zh", "必须是 IANA 时区，例如 ")):
        answer = await api.http.post("/users/", json=details(timezone=sent), headers={"Accept-Language": language})
        (fault,) = answer.json()["errors"]
        assert (answer.status_code, fault["rule"]) == (422, "timezone")
        assert fault["detail"].startswith(words)
        assert nearest in fault["detail"].removeprefix(words).split(", ")


@pytest.mark.timeout(10)  # the long ones are refused at a glance, not after a minute of Unicode
@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        *BAD_VALUES,
        *UNKNOWN_FIELDS,
        ("username", ..., "required"),
        ("email", ..., "required"),
        ("password", ..., "required"),
    ],
    ids=lambda value: ascii(value)[:24],
)
async def test_an_account_that_breaks_a_rule_is_refused_and_names_field_and_rule(
    api: Api, field: str, value: Any, rule: str
) -> None:
    asked = details(**{field: value})
    answer = await api.http.post("/users/", json=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "validation_failed"
    assert [(e["in"], e["field"], e["rule"]) for e in answer.json()["errors"]] == [("body", field, rule)]
    assert PASSWORD not in answer.text


@pytest.mark.parametrize("field", ["username", "email", "password", "timezone", "locale"])
async def test_half_a_surrogate_pair_is_refused(api: Api, field: str) -> None:
    body = (
        b'{"username": "abc", "email": "a@example.com", "password": "0123456789", "%s": "abc\\ud800"}' % field.encode()
    )
    answer = await api.http.post("/users/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert next(e["rule"] for e in answer.json()["errors"] if e["field"] == field) in {"unicode", field}


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PATCH", b'{"locale": "zh", "current_password": "\\ud800 is no password"}'),
        ("PATCH", b'{"password": "another password", "current_password": "\\ud800 is no password"}'),
        ("DELETE", b'{"password": "\\ud800 is no password"}'),
    ],
)
async def test_half_a_surrogate_pair_is_no_password(lin: Person, method: str, body: bytes) -> None:
    answer = await lin.request(method, "/users/me/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [e["rule"] for e in answer.json()["errors"]] == ["unicode"]


async def test_every_field_that_breaks_a_rule_is_named_at_once(api: Api) -> None:
    answer = await api.http.post("/users/", json={"username": "a", "email": "b", "password": "c", "timezone": "d"})
    assert {(e["field"], e["rule"]) for e in answer.json()["errors"]} == {
        ("username", "username"), ("email", "email"), ("password", "min_length"), ("timezone", "timezone"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("accept_language", "chosen", "locale"),
    [
        (None, ..., "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", ..., "zh-CN"),
        ("en;q=0.4, zh;q=0.6", ..., "zh-CN"),
        ("en-GB,en;q=0.9,zh;q=0.8", ..., "en"),
        ("fr", ..., "en"),
        ("zh", None, "zh-CN"),
        ("zh", "en", "en"),
        ("en", "zh-TW", "zh-TW"),
    ],
)
async def test_the_locale_is_the_one_chosen_or_else_the_requests(
    api: Api, accept_language: str | None, chosen: Any, locale: str
) -> None:
    headers = {"Accept-Language": accept_language} if accept_language else {}
    answer = await api.http.post("/users/", json=details(locale=chosen), headers=headers)
    assert (answer.status_code, answer.json()["locale"], answer.json()["timezone"]) == (201, locale, "UTC")


# ---- names are unique ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("lin{}", "lin{}"),
        ("lin{}", "LiN{}"),
        ("straße{}", "STRASSE{}"),
        ("Ångström{}", "a\u030angstro\u0308m{}"),
        ("wang{}", "ｗａｎｇ{}"),
    ],
)
async def test_a_username_is_taken_whatever_its_case_and_form(api: Api, first: str, second: str) -> None:
    number = next(_numbers)
    assert (await api.http.post("/users/", json=details(username=first.format(number)))).status_code == 201
    answer = await api.http.post("/users/", json=details(username=second.format(number)))
    assert answer.status_code == 409
    assert answer.json()["code"] == "conflict"
    assert [(e["in"], e["field"], e["rule"]) for e in answer.json()["errors"]] == [("body", "username", "taken")]


async def test_an_email_is_taken_whatever_its_case(api: Api, lin: Person) -> None:
    for email in (lin.email, lin.email.upper(), lin.email.title()):
        answer = await api.http.post("/users/", json=details(email=email))
        assert answer.status_code == 409
        assert [(e["field"], e["rule"]) for e in answer.json()["errors"]] == [("email", "taken")]


async def test_both_fields_are_named_when_both_are_taken(api: Api, lin: Person, wang: Person) -> None:
    for username, email in ((lin.username, lin.email), (lin.username.upper(), wang.email.upper())):
        answer = await api.http.post("/users/", json=details(username=username, email=email))
        assert answer.status_code == 409
        assert [e["field"] for e in answer.json()["errors"]] == ["username", "email"]


@pytest.mark.parametrize("field", ["username", "email"])
async def test_of_many_who_want_one_name_at_once_exactly_one_gets_it(api: Api, run_api: RunApi, field: str) -> None:
    other = await run_api()
    wanted = details()[field]
    answers = await asyncio.gather(
        *(
            http.post("/users/", json=details(**{field: wanted.upper() if odd else wanted}))
            for http, odd in itertools.product([api.http, other.http], [True, False] * 4)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15
    for answer in answers:
        if answer.status_code == 409:
            assert [(e["field"], e["rule"]) for e in answer.json()["errors"]] == [(field, "taken")]


# ---- me --------------------------------------------------------------------------------------------------------------


async def test_me_is_the_account_of_the_token(lin: Person, wang: Person) -> None:
    for person in (lin, wang):
        answer = await person.get("/users/me/")
        assert (answer.status_code, answer.json().keys()) == (200, ACCOUNT_FIELDS)
        assert (answer.json()["id"], answer.json()["username"]) == (person.id, person.username)


# ---- changing it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timezone": "Europe/Berlin"},
        {"locale": "zh-TW"},
        {"username": "renamed-{}"},
        {"email": "moved-{}@example.com", "current_password": PASSWORD},
        {"username": "all-{}", "email": "all-{}@example.com", "timezone": "Asia/Tokyo", "locale": "zh",
         "current_password": PASSWORD},
    ],
    ids=lambda changes: "+".join(changes) or "nothing",
)  # fmt: skip
async def test_patch_changes_only_what_is_sent(lin: Person, changes: dict[str, str]) -> None:
    sent = {name: value.format(next(_numbers)) for name, value in changes.items()}
    before = (await lin.get("/users/me/")).json()
    answer = await lin.patch("/users/me/", json=sent)
    assert answer.status_code == 200
    sent.pop("current_password", None)
    assert answer.json() == before | sent
    assert (await lin.get("/users/me/")).json() == answer.json()


async def test_a_new_name_signs_in_and_the_old_one_is_free(api: Api, lin: Person) -> None:
    new = details()
    changes = {"username": new["username"], "email": new["email"], "current_password": lin.password}
    assert (await lin.patch("/users/me/", json=changes)).status_code == 200
    assert await api.sign_in(new["username"].upper())
    assert await api.sign_in(new["email"].upper())
    for old in (lin.username, lin.email):
        assert (await api.http.post("/token", data={"username": old, "password": lin.password})).status_code == 400
    taken_over = await api.http.post("/users/", json=details(username=lin.username, email=lin.email))
    assert taken_over.status_code == 201


async def test_a_name_may_change_its_own_case(lin: Person) -> None:
    answer = await lin.patch(
        "/users/me/", json={"username": lin.username.upper(), "email": lin.email.title(), "current_password": PASSWORD}
    )
    assert (answer.status_code, answer.json()["username"]) == (200, lin.username.upper())


async def test_a_name_that_is_someone_elses_is_refused_and_named(lin: Person, wang: Person) -> None:
    before = (await lin.get("/users/me/")).json()
    for changes, fields in (
        ({"username": wang.username.upper()}, ["username"]),
        ({"email": wang.email.upper()}, ["email"]),
        ({"username": wang.username, "email": wang.email, "timezone": "Asia/Tokyo"}, ["username", "email"]),
    ):
        answer = await lin.patch("/users/me/", json={**changes, "current_password": lin.password})
        assert answer.status_code == 409
        assert [(e["field"], e["rule"]) for e in answer.json()["errors"]] == [(field, "taken") for field in fields]
    assert (await lin.get("/users/me/")).json() == before


async def test_of_many_who_rename_themselves_alike_exactly_one_does(api: Api) -> None:
    people = [await api.person() for _ in range(6)]
    wanted = details()["username"]
    answers = await asyncio.gather(*(person.patch("/users/me/", json={"username": wanted}) for person in people))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5


@pytest.mark.parametrize(
    ("changes", "current"),
    [
        ({"email": "thief@example.com"}, ...),
        ({"password": "a thief's password"}, ...),
        ({"email": "thief@example.com"}, "not the password"),
        ({"password": "a thief's password"}, "not the password"),
        ({"password": "a thief's password"}, ""),
        ({"email": "thief@example.com", "password": "a thief's password", "timezone": "Asia/Tokyo"}, "wrong again"),
    ],
)
async def test_email_and_password_change_only_with_the_current_password(
    api: Api, lin: Person, changes: dict[str, str], current: Any
) -> None:
    before = (await lin.get("/users/me/")).json()
    body = changes if current is ... else {**changes, "current_password": current}
    answer = await lin.patch("/users/me/", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_password")
    assert (await lin.get("/users/me/")).json() == before
    assert await api.sign_in(lin.username, lin.password)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        *BAD_VALUES,
        *UNKNOWN_FIELDS,
        ("locale", None, "null"),
        ("current_password", None, "null"),
        ("current_password", 5, "string"),
        ("current_password", "x" * 129, "max_length"),
    ],
    ids=lambda value: ascii(value)[:24],
)
async def test_a_patch_that_breaks_a_rule_is_refused_whole(
    unchanged: Person, field: str, value: Any, rule: str
) -> None:
    before = (await unchanged.get("/users/me/")).json()
    body = {"timezone": "Asia/Tokyo", "locale": "zh-TW", "current_password": unchanged.password, field: value}
    answer = await unchanged.patch("/users/me/", json=body)
    assert answer.status_code == 422
    assert [(e["in"], e["field"], e["rule"]) for e in answer.json()["errors"]] == [("body", field, rule)]
    assert (await unchanged.get("/users/me/")).json() == before


OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/users/me/", {}),
    ("PATCH", "/users/me/", {"json": {"timezone": "Asia/Tokyo"}}),
    ("PATCH", "/users/me/", {"json": {}}),
    ("PATCH", "/users/me/", {"json": {"email": "x@example.com", "current_password": PASSWORD}}),
    ("DELETE", "/users/me/", {"json": {"password": PASSWORD}}),
    ("GET", "/todos/", {}),
    ("GET", "/todos/", {"params": {"sort": "due_at", "completed": "true"}}),
    ("POST", "/todos/", {"json": {"title": "from the beyond"}}),
    ("GET", "/todos/{id}", {}),
    ("PATCH", "/todos/{id}", {"json": {"title": "from the beyond"}}),
    ("PATCH", "/todos/{id}", {"json": {}}),
    ("PUT", "/todos/{id}", {"json": {"title": "from the beyond"}}),
    ("DELETE", "/todos/{id}", {}),
    ("POST", "/todos/{id}/complete", {}),
    ("POST", "/todos/{id}/reopen", {}),
]
"""Every operation that needs an account."""


async def refused_everywhere(person: Person, todo_id: str) -> None:
    """Assert that the person's token opens nothing."""
    for method, path, options in OPERATIONS:
        answer = await person.request(method, path.format(id=todo_id), **options)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path)
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_new_password_ends_every_session_and_touches_nobody_else(
    api: Api, run_api: RunApi, lin: Person, wang: Person
) -> None:
    other = await run_api()
    todo = await lin.add_todo("kept")
    phone = await api.sign_in(lin.username)
    assert (await lin.list(sort="due_at", completed="true"))["items"] == []
    assert [item["id"] for item in (await lin.list())["items"]] == [todo["id"]]  # both are in the cache now

    answer = await lin.patch("/users/me/", json={"password": "another password", "current_password": lin.password})
    assert (answer.status_code, answer.json().keys()) == (200, ACCOUNT_FIELDS)
    assert "another password" not in answer.text

    await refused_everywhere(lin, todo["id"])
    await refused_everywhere(other.as_seen_here(lin), todo["id"])
    for tokens in (lin.tokens, phone):
        data = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        refused = await api.http.post("/token", data=data)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    old = await api.http.post("/token", data={"username": lin.username, "password": lin.password})
    assert (old.status_code, old.json()["error"]) == (400, "invalid_grant")

    lin.tokens = await api.sign_in(lin.username, "another password")
    assert [item["id"] for item in (await lin.list())["items"]] == [todo["id"]]
    assert (await wang.get("/users/me/")).status_code == 200


Meanwhile = Callable[[Api, Callable[[], Awaitable[None]]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Lets something happen elsewhere just when a process has checked a password and not yet used what it found.

    A check takes a quarter of a second in production, so there always is a meanwhile.
    """

    def arrange(process: Api, event: Callable[[], Awaitable[None]]) -> None:
        passwords = process.process.passwords
        verify = passwords.verify

        async def verify_then_event(password: str, password_hash: str | None, asker: Asker) -> bool:
            matches = await verify(password, password_hash, asker)
            await event()
            return matches

        monkeypatch.setattr(passwords, "verify", verify_then_event)

    return arrange


async def give_another_password(person: Person) -> None:
    """Change it, and so end every session."""
    changes = {"password": "another password", "current_password": person.password}
    assert (await person.patch("/users/me/", json=changes)).status_code == 200


@pytest.mark.parametrize("cost", [4, 5], ids=["same cost", "hash renewed at a new cost"])
async def test_a_password_that_is_replaced_while_it_signs_in_gets_no_session_and_does_not_come_back(
    run_api: RunApi, lin: Person, meanwhile: Meanwhile, cost: int
) -> None:
    slow = await run_api(PasswordSettings(bcrypt_cost=cost))
    meanwhile(slow, lambda: give_another_password(lin))
    late = await slow.http.post("/token", data={"username": lin.username, "password": lin.password})
    assert (late.status_code, late.json().get("error")) == (400, "invalid_grant")
    again = await lin.http.post("/token", data={"username": lin.username, "password": lin.password})
    assert again.status_code == 400
    now = await lin.http.post("/token", data={"username": lin.username, "password": "another password"})
    assert now.status_code == 200


async def test_an_account_that_is_deleted_while_it_signs_in_is_unknown(
    run_api: RunApi, lin: Person, meanwhile: Meanwhile
) -> None:
    async def leave() -> None:
        assert (await lin.delete("/users/me/", json={"password": lin.password})).status_code == 204

    slow = await run_api()
    meanwhile(slow, leave)
    late = await slow.http.post("/token", data={"username": lin.username, "password": lin.password})
    assert (late.status_code, late.json().get("error")) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PATCH", {"password": "a second password", "current_password": PASSWORD}),
        ("PATCH", {"email": "late@example.com", "current_password": PASSWORD}),
        ("DELETE", {"password": PASSWORD}),
    ],
)
async def test_a_session_that_ends_while_its_password_is_checked_changes_nothing_more(
    run_api: RunApi, lin: Person, meanwhile: Meanwhile, method: str, body: dict[str, str]
) -> None:
    slow = await run_api()
    meanwhile(slow, lambda: give_another_password(lin))
    late = await slow.as_seen_here(lin).request(method, "/users/me/", json=body)
    assert (late.status_code, late.json()["code"]) == (401, "unauthenticated")
    now = await lin.http.post("/token", data={"username": lin.email, "password": "another password"})
    assert now.status_code == 200


# ---- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["not the password", PASSWORD.upper(), PASSWORD + " ", ""])
async def test_without_the_right_password_nothing_is_deleted(lin: Person, password: str) -> None:
    todo = await lin.add_todo()
    answer = await lin.delete("/users/me/", json={"password": password})
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_password")
    assert (await lin.get(f"/todos/{todo['id']}")).json() == todo


@pytest.mark.parametrize(
    ("options", "field", "rule"),
    [
        ({}, "body", "required"),
        ({"json": None}, "body", "required"),
        ({"json": {}}, "password", "required"),
        ({"json": []}, "body", "object"),
        ({"json": {"password": None}}, "password", "null"),
        ({"json": {"password": 5}}, "password", "string"),
        ({"json": {"password": "x" * 129}}, "password", "max_length"),
        ({"json": {"password": PASSWORD, "sure": True}}, "sure", "unknown_field"),
    ],
)
async def test_a_deletion_that_is_not_well_formed_deletes_nothing(
    lin: Person, options: dict[str, Any], field: str, rule: str
) -> None:
    if "json" in options and options["json"] is None:
        options = {"content": b"null", "headers": {"Content-Type": "application/json"}}
    answer = await lin.delete("/users/me/", **options)
    assert answer.status_code == 422
    assert [(e["in"], e["field"], e["rule"]) for e in answer.json()["errors"]] == [("body", field, rule)]
    assert (await lin.get("/users/me/")).status_code == 200


async def rows_of(database: asyncpg.Connection, account_id: str) -> dict[str, int]:
    """How many rows of each table belong to the account, for every table that ever refers to one."""
    references = await database.fetch(
        "SELECT c.conrelid::regclass::text AS name, a.attname FROM pg_constraint c"
        " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
        " WHERE c.contype = 'f' AND c.confrelid = 'accounts'::regclass"
    )
    counts = {
        row["name"]: await database.fetchval(
            f"SELECT count(*) FROM {row['name']} WHERE {row['attname']} = $1", account_id
        )
        for row in references
    }
    return counts | {"accounts": await database.fetchval("SELECT count(*) FROM accounts WHERE id = $1", account_id)}


async def test_a_deleted_account_leaves_nothing_behind_and_takes_nothing_of_others(
    api: Api, lin: Person, wang: Person, database: asyncpg.Connection
) -> None:
    for person in (lin, wang):
        await person.add_todo("one")
        await person.add_todo("two", completed=True)
    before = await rows_of(database, lin.id)
    assert before == await rows_of(database, wang.id)
    assert before.items() >= {"accounts": 1, "refresh_tokens": 1, "todos": 2}.items()

    answer = await lin.delete("/users/me/", json={"password": lin.password})
    assert (answer.status_code, answer.content) == (204, b"")

    assert await rows_of(database, lin.id) == dict.fromkeys(before, 0)
    assert await rows_of(database, wang.id) == before
    for login in (lin.username, lin.email):
        assert (await api.http.post("/token", data={"username": login, "password": lin.password})).status_code == 400
    assert (await api.http.post("/users/", json=details(username=lin.username, email=lin.email))).status_code == 201


async def test_a_token_of_a_deleted_account_opens_nothing_on_any_process(
    api: Api, run_api: RunApi, lin: Person, database: asyncpg.Connection
) -> None:
    other = await run_api()
    elsewhere = other.as_seen_here(lin)
    todo = await lin.add_todo()
    for seen_by in (lin, elsewhere):  # both have verified the token and cached the lists
        await seen_by.list()
        await seen_by.list(sort="due_at", completed="true")
    assert (await lin.delete("/users/me/", json={"password": lin.password})).status_code == 204

    await refused_everywhere(lin, todo["id"])
    await refused_everywhere(elsewhere, todo["id"])
    data = {"grant_type": "refresh_token", "refresh_token": lin.tokens["refresh_token"]}
    refused = await api.http.post("/token", data=data)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert set((await rows_of(database, lin.id)).values()) == {0}


async def test_what_is_written_while_the_account_is_deleted_is_gone_too(
    lin: Person, database: asyncpg.Connection
) -> None:
    writes = [lin.post("/todos/", json={"title": f"last words {number}"}) for number in range(12)]
    first = asyncio.gather(*writes[:4])
    deleted, *rest = await asyncio.gather(lin.delete("/users/me/", json={"password": lin.password}), *writes[4:])
    assert deleted.status_code == 204
    assert {answer.status_code for answer in [*await first, *rest]} <= {201, 401}
    assert set((await rows_of(database, lin.id)).values()) == {0}


async def test_of_two_deletions_at_once_one_says_that_it_is_done(lin: Person) -> None:
    answers = await asyncio.gather(*(lin.delete("/users/me/", json={"password": lin.password}) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [204, 401]
