"""Signing in and staying signed in: the two grants, the tokens themselves, and how often one may guess."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from dev.valkey import EmbeddedValkey
from tests.conftest import TEST_KEYS, RunApi
from tests.factories import PASSWORD, Api, Person
from todo_core import clock
from todo_core.accounts.turns import Asker
from todo_core.settings import PasswordSettings, RateLimitSettings, RedisSettings, TokenSettings

_numbers = itertools.count(1)
TEST_KEY = TEST_KEYS.partition(":")[2]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, RFC 6749's error and our code of a refused token request."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert "access_token" not in problem
    return answer.status_code, problem["error"], problem["code"]


def refresh(http: httpx.AsyncClient, tokens: dict[str, Any]) -> Awaitable[httpx.Response]:
    """Exchange the refresh token."""
    return http.post("/token", data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A look at the rows themselves."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


# ---- the password grant ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["username", "email"])
@pytest.mark.parametrize("spelling", [str, str.upper, str.title], ids=["as given", "upper", "title"])
async def test_username_or_email_in_any_case_signs_in(
    api: Api, lin: Person, login: str, spelling: Callable[[str], str]
) -> None:
    data = {"username": spelling(getattr(lin, login)), "password": lin.password}
    answer = await api.http.post("/token", data=data)
    tokens = answer.json()
    assert answer.status_code == 200
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
    lin.tokens = tokens
    assert (await lin.get("/users/me/")).json()["id"] == lin.id


async def test_no_cache_keeps_tokens(api: Api, lin: Person) -> None:
    data = {"username": lin.username, "password": lin.password}
    signed_in = await api.http.post("/token", data=data)
    refreshed = await refresh(api.http, lin.tokens)
    for answer in (signed_in, refreshed):
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


@pytest.mark.parametrize("slash", ["", "/"])
async def test_fields_that_oauth2_clients_send_beside_are_ignored(api: Api, lin: Person, slash: str) -> None:
    ours = {"grant_type": "password", "username": lin.username, "password": lin.password}
    theirs = {
        "scope": "todos",
        "client_id": "app",
        "client_secret": "",
        "audience": "https://example.com",
        "state": "x",
    }
    assert (await api.http.post(f"/token{slash}", data=ours | theirs)).status_code == 200


async def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(api: Api, lin: Person) -> None:
    tries = [
        (lin.username, "not the password"),
        (lin.email, "not the password"),
        (lin.username, lin.password.upper()),
        (lin.username, lin.password + " "),
        ("nobody", lin.password),
        ("nobody@example.com", lin.password),
        ("not even\ta name <b>", lin.password),
        ("@", lin.password),
    ]
    answers = [await api.http.post("/token", data={"username": name, "password": pw}) for name, pw in tries]
    assert {error_of(answer) for answer in answers} == {(400, "invalid_grant", "invalid_grant")}
    documents = [answer.json() | {"request_id": ""} for answer in answers]
    assert all(document == documents[0] for document in documents)


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        ({}, [("username", "required"), ("password", "required")]),
        ({"username": "lin"}, [("password", "required")]),
        ({"password": PASSWORD}, [("username", "required")]),
        ({"username": "", "password": ""}, [("username", "required"), ("password", "required")]),
        ({"grant_type": "refresh_token"}, [("refresh_token", "required")]),
        ({"grant_type": "refresh_token", "refresh_token": ""}, [("refresh_token", "required")]),
        ({"grant_type": "refresh_token", "username": "lin", "password": PASSWORD}, [("refresh_token", "required")]),
        ({"username": "li\x00n", "password": PASSWORD}, [("username", "nul")]),
        ({"username": "x" * 255, "password": PASSWORD}, [("username", "max_length")]),
        ({"username": "a" + "\u0300\u0316" * 50_000, "password": PASSWORD}, [("username", "max_length")]),
        ({"username": "lin", "password": "x" * 129}, [("password", "max_length")]),
    ],
    ids=lambda value: ascii(value)[:40],
)
@pytest.mark.timeout(10)
async def test_a_request_that_is_not_complete_names_what_is_wrong(
    api: Api, data: dict[str, str], faults: list[tuple[str, str]]
) -> None:
    answer = await api.http.post("/token", data=data)
    assert error_of(answer) == (400, "invalid_request", "invalid_request")
    assert [(e["field"], e["rule"]) for e in answer.json()["errors"]] == faults


@pytest.mark.parametrize("grant_type", ["client_credentials", "authorization_code", "PASSWORD", "x" * 5000, "\x00"])
async def test_another_grant_is_not_supported(api: Api, lin: Person, grant_type: str) -> None:
    data = {"grant_type": grant_type, "username": lin.username, "password": lin.password}
    answer = await api.http.post("/token", data=data)
    assert error_of(answer) == (400, "unsupported_grant_type", "unsupported_grant_type")


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"username": "lin", "password": PASSWORD}},
        {"files": {"username": (None, "lin"), "password": (None, PASSWORD)}},
        {"content": b"username=lin&password=x", "headers": {"Content-Type": "text/plain"}},
        {"content": b"username=lin&password=x"},
    ],
    ids=["json", "multipart", "text", "nothing said"],
)
async def test_only_a_form_is_read(api: Api, options: dict[str, Any]) -> None:
    answer = await api.http.post("/token", **options)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["accept-post"] == "application/x-www-form-urlencoded"
    assert "application/x-www-form-urlencoded" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"&".join(b"a%d=1" % number for number in range(5_000)),
        b"\xff\xfe=%ff&username=%ff%fe&password=%00",
        b"%%%=&&&===;username",
        b"username=a&username=b&password=c&password=d",
    ],
    ids=["thousands of fields", "no UTF-8", "rubbish", "twice"],
)
async def test_a_form_that_makes_no_sense_gets_an_answer_of_oauth2_all_the_same(api: Api, body: bytes) -> None:
    answer = await api.http.post("/token", content=body, headers=FORM)
    status, error, _ = error_of(answer)
    assert status == 400
    assert error in {"invalid_request", "invalid_grant"}


# ---- refresh tokens --------------------------------------------------------------------------------------------------


async def test_a_refresh_token_is_exchanged_for_the_next_pair(api: Api, lin: Person) -> None:
    first = lin.tokens
    answer = await refresh(api.http, first)
    second = answer.json()
    assert answer.status_code == 200
    assert second.keys() == first.keys()
    assert second["refresh_token"] != first["refresh_token"]
    for tokens in (first, second):  # an access token lives as long as it says
        lin.tokens = tokens
        assert (await lin.get("/users/me/")).status_code == 200
    third = await refresh(api.http, second)
    assert third.status_code == 200


async def test_a_refresh_token_that_comes_twice_ends_its_session_and_no_other(
    api: Api, run_api: RunApi, lin: Person, database: asyncpg.Connection
) -> None:
    laptop = await api.sign_in(lin.username)
    second = (await refresh(api.http, lin.tokens)).json()
    reused = await refresh(api.http, lin.tokens)
    assert error_of(reused) == (400, "invalid_grant", "refresh_token_reused")
    other = await run_api()
    for tokens in (second, lin.tokens):  # it is committed: another process knows it too
        assert error_of(await refresh(other.http, tokens)) == (400, "invalid_grant", "invalid_grant")
    assert await database.fetchval("SELECT count(*) FROM refresh_tokens WHERE account_id = $1", lin.id) == 1
    assert (await refresh(other.http, laptop)).status_code == 200


async def test_of_many_who_use_one_refresh_token_at_once_one_gets_a_pair_and_the_session_ends(
    api: Api, run_api: RunApi, lin: Person
) -> None:
    other = await run_api()
    answers = await asyncio.gather(*(refresh(http, lin.tokens) for http in [api.http, other.http] * 4))
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(good) == 1
    assert {error_of(answer)[1] for answer in answers if answer.status_code != 200} == {"invalid_grant"}
    assert (await refresh(api.http, good[0])).status_code == 400


async def waiting_for_locks(database: asyncpg.Connection, count: int) -> None:
    """Return once so many statements wait for a lock in this database."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(1.5):
        while await database.fetchval(query) < count:  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(0.005)


async def test_a_token_that_is_on_its_way_when_its_session_ends_is_dead_when_it_arrives(
    api: Api, lin: Person, database_url: str, database: asyncpg.Connection
) -> None:
    """The thief's exchange is under way when the owner's client comes with the token that was stolen."""
    second = (await refresh(api.http, lin.tokens)).json()
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.fetch("SELECT 1 FROM refresh_tokens WHERE account_id = $1 FOR UPDATE", lin.id)
        thief = asyncio.create_task(_awaited(refresh(api.http, second)))
        await waiting_for_locks(database, 1)
        owner = asyncio.create_task(_awaited(refresh(api.http, lin.tokens)))
        await waiting_for_locks(database, 2)
    await holder.close()
    stolen, reused = await thief, await owner
    assert error_of(reused) == (400, "invalid_grant", "refresh_token_reused")
    assert stolen.status_code in {200, 400}
    if stolen.status_code == 200:
        assert error_of(await refresh(api.http, stolen.json())) == (400, "invalid_grant", "invalid_grant")
    assert await database.fetchval("SELECT count(*) FROM refresh_tokens WHERE account_id = $1", lin.id) == 0


async def test_a_new_password_and_a_refresh_at_once_both_get_an_answer_and_the_session_ends(
    api: Api, lin: Person, database_url: str, database: asyncpg.Connection
) -> None:
    """Each locks the account before its tokens: the other way round they would wait for each other."""
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.fetch("SELECT 1 FROM refresh_tokens WHERE account_id = $1 FOR UPDATE", lin.id)
        refreshing = asyncio.create_task(_awaited(refresh(api.http, lin.tokens)))
        await waiting_for_locks(database, 1)
        changes = {"password": "another password", "current_password": lin.password}
        changing = asyncio.create_task(_awaited(lin.patch("/users/me/", json=changes)))
        await waiting_for_locks(database, 2)
    await holder.close()
    refreshed, changed = await refreshing, await changing
    assert (refreshed.status_code, changed.status_code) == (200, 200)
    assert error_of(await refresh(api.http, refreshed.json())) == (400, "invalid_grant", "invalid_grant")


async def _awaited(request: Awaitable[httpx.Response]) -> httpx.Response:
    return await request


@pytest.mark.parametrize("token", ["x", "x" * 10_000, "\x00", "' OR true --", "刷新"])
async def test_a_refresh_token_that_is_not_ours_is_refused(api: Api, token: str) -> None:
    answer = await refresh(api.http, {"refresh_token": token})
    assert error_of(answer) == (400, "invalid_grant", "invalid_grant")


async def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(api: Api, lin: Person) -> None:
    assert error_of(await refresh(api.http, {"refresh_token": lin.tokens["access_token"]}))[1] == "invalid_grant"
    lin.tokens = {"access_token": lin.tokens["refresh_token"]}
    assert (await lin.get("/users/me/")).status_code == 401


async def test_an_expired_refresh_token_is_refused_and_its_lifetime_is_a_setting(
    api: Api, run_api: RunApi, lin: Person, database: asyncpg.Connection
) -> None:
    lifetime = "SELECT extract(epoch FROM max(expires_at - created_at))::int FROM refresh_tokens WHERE account_id = $1"
    assert await database.fetchval(lifetime, lin.id) == 30 * 86_400
    brief = await run_api(TokenSettings(keys=TEST_KEYS, refresh_seconds=31 * 86_400))
    await brief.sign_in(lin.username)
    assert await database.fetchval(lifetime, lin.id) == 31 * 86_400

    await database.execute("UPDATE refresh_tokens SET expires_at = now() WHERE account_id = $1", lin.id)
    assert error_of(await refresh(api.http, lin.tokens)) == (400, "invalid_grant", "invalid_grant")


async def test_refresh_tokens_are_stored_hashed_with_their_family_and_time_of_use(
    api: Api, lin: Person, database: asyncpg.Connection
) -> None:
    second = (await refresh(api.http, lin.tokens)).json()
    rows = await database.fetch(
        "SELECT *, t::text AS everything FROM refresh_tokens t WHERE account_id = $1 ORDER BY created_at", lin.id
    )
    tokens = [lin.tokens["refresh_token"], second["refresh_token"]]
    assert [row["token_hash"] for row in rows] == [hashlib.sha256(token.encode()).digest() for token in tokens]
    assert rows[0]["family_id"] == rows[1]["family_id"]
    assert rows[0]["used_at"] is not None
    assert rows[1]["used_at"] is None
    for token in tokens:
        assert len(token) >= 43  # 256 bits
        assert not any(token in row["everything"] or token.encode().hex() in row["everything"] for row in rows)


# ---- access tokens ---------------------------------------------------------------------------------------------------


def part(token: str, number: int) -> dict[str, Any]:
    """The header (0) or the claims (1) of a JWT."""
    text = token.split(".")[number]
    return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))


def encode(data: bytes) -> str:
    """base64url, as JWTs have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(header: dict[str, Any], claims: dict[str, Any], key: str = TEST_KEY) -> str:
    """Return a JWT with this header and these claims, signed with this key."""
    parts = [encode(json.dumps(members).encode()) for members in (header, claims)]
    return ".".join([*parts, encode(hmac.digest(key.encode(), ".".join(parts).encode(), "sha256"))])


async def test_an_access_token_names_its_key_and_lives_for_fifteen_minutes(lin: Person) -> None:
    token = lin.tokens["access_token"]
    claims = part(token, 1)
    assert part(token, 0) == {"alg": "HS256", "typ": "JWT", "kid": "test"}
    assert claims["exp"] - claims["iat"] == lin.tokens["expires_in"] == 900
    assert abs(claims["iat"] - time.time()) < 60
    assert claims["sub"] == lin.id
    assert lin.username not in str(claims)
    assert lin.email not in str(claims)


async def test_an_access_token_ends_when_it_says_even_where_it_was_seen_before(
    api: Api, run_api: RunApi, lin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = (await run_api()).as_seen_here(lin)
    issued_at = datetime.fromtimestamp(part(lin.tokens["access_token"], 1)["iat"], UTC)
    for seconds, status in ((0, 200), (899, 200), (900, 401)):
        monkeypatch.setattr(clock, "now", lambda seconds=seconds: issued_at + timedelta(seconds=seconds))
        assert (await lin.get("/users/me/")).status_code == status
        assert (await lin.get("/todos/")).status_code == status
    assert (await lin.post("/todos/", json={"title": "late"})).status_code == 401
    assert (await elsewhere.get("/users/me/")).status_code == 401
    lin.tokens = (await refresh(api.http, lin.tokens)).json()
    assert (await lin.get("/users/me/")).status_code == 200


@pytest.fixture(scope="module")
async def victim(api: Api) -> Person:
    """Somebody whose token is being forged."""
    return await api.person()


async def opens_nothing(http: httpx.AsyncClient, token: str) -> None:
    """Assert that nobody is let in with it."""
    headers = {b"Authorization": f"Bearer {token}".encode()}
    for method, path in (("GET", "/users/me/"), ("GET", "/todos/"), ("POST", "/todos/")):
        body: dict[str, Any] = {"json": {"title": "forged"}} if method == "POST" else {}
        answer = await http.request(method, path, headers=headers, **body)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("header", "claims", "key"),
    [
        ({"alg": "none"}, {}, TEST_KEY),
        ({"kid": "other"}, {}, TEST_KEY),
        ({}, {}, "another key, another key, another key, another key"),
        ({}, {"exp": 1_700_000_000}, TEST_KEY),
        ({}, {"sub": "01890000-0000-7000-8000-000000000000"}, TEST_KEY),
        ({}, {"ver": 0}, TEST_KEY),
        ({}, {"ver": 2}, TEST_KEY),
    ],
)
async def test_a_token_that_we_did_not_issue_opens_nothing(
    api: Api, victim: Person, header: dict[str, Any], claims: dict[str, Any], key: str
) -> None:
    """tests/unit/test_tokens.py has every other way to forge one."""
    genuine = victim.tokens["access_token"]
    await opens_nothing(api.http, forge(part(genuine, 0) | header, part(genuine, 1) | claims, key))
    # It is not for how it was made: the same, unchanged, is as good as ours.
    signed = {"Authorization": f"bearer {forge(part(genuine, 0), part(genuine, 1))}"}
    assert (await api.http.get("/users/me/", headers=signed)).json()["id"] == victim.id


@pytest.mark.parametrize("mangled", ["{token} {token}", "ä{token}", "...", "x" * 30_000], ids=ascii)
async def test_a_mangled_token_opens_nothing(api: Api, victim: Person, mangled: str) -> None:
    await opens_nothing(api.http, mangled.format(token=victim.tokens["access_token"]))


@pytest.mark.parametrize("header", ["", "Bearer", "Basic bGluOng=", "{token}", "Token {token}"])
async def test_a_token_comes_as_a_bearer_token_or_not_at_all(api: Api, victim: Person, header: str) -> None:
    signed = {"Authorization": header.format(token=victim.tokens["access_token"])}
    answer = await api.http.get("/users/me/", headers=signed)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    elsewhere = await api.http.get("/users/me/", params={"access_token": victim.tokens["access_token"]})
    assert elsewhere.status_code == 401


# ---- what a password check costs -------------------------------------------------------------------------------------


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(run_api: RunApi) -> None:
    slow = await run_api(PasswordSettings(bcrypt_cost=10, threads=1))
    person = await slow.person()
    seconds: dict[str, list[float]] = {person.username: [], "nobody": [], person.email: [], "nobody@example.com": []}
    for _ in range(4):
        for name, measured in seconds.items():
            started = time.perf_counter()
            assert (await guess(slow.http, name)).status_code == 400
            measured.append(time.perf_counter() - started)
    known = statistics.median(seconds[person.username] + seconds[person.email])
    unknown = statistics.median(seconds["nobody"] + seconds["nobody@example.com"])
    assert 0.4 < unknown / known < 2.5  # a tenth or less if names that nobody has were not checked


@pytest.mark.parametrize("what", ["sign-in", "registration", "new password"])
async def test_lists_do_not_wait_for_passwords(run_api: RunApi, lin: Person, what: str) -> None:
    slow = await run_api(PasswordSettings(bcrypt_cost=11, threads=1))
    person = slow.as_seen_here(lin)
    await person.list()
    changes = {"password": "another password", "current_password": lin.password}
    account = {"username": f"slow-{lin.username}", "email": f"slow-{lin.email}", "password": lin.password}
    requests = {
        "sign-in": lambda: guess(slow.http, "nobody"),
        "registration": lambda: slow.http.post("/users/", json=account),
        "new password": lambda: slow.as_seen_here(lin).patch("/users/me/", json=changes),
    }
    checking = asyncio.create_task(requests[what]())
    listed = 0
    while not checking.done() and (await person.get("/todos/")).status_code == 200:
        listed += not checking.done()
    assert (await checking).status_code in {200, 201, 400}
    # A check takes a tenth of a second or more, a list a few milliseconds. On the event loop not one would get in.
    assert listed >= 10


async def test_more_sign_ins_than_there_is_room_for_are_sent_away_for_a_moment(run_api: RunApi) -> None:
    slow = await run_api(PasswordSettings(bcrypt_cost=10, threads=1, queue=1))
    person = await slow.person()
    data = {"username": person.username, "password": person.password}
    answers = await asyncio.gather(*(slow.http.post("/token", data=data) for _ in range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) >= 2  # one is checked, one waits
    assert statuses.count(503) >= 1
    assert set(statuses) == {200, 503}
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert busy.json()["code"] == "unavailable"
    assert busy.headers["content-type"] == "application/problem+json"
    assert int(busy.headers["retry-after"]) >= 1
    assert await slow.sign_in(person.username)


async def test_a_password_hash_of_another_cost_is_renewed_at_the_next_sign_in(
    run_api: RunApi, lin: Person, database: asyncpg.Connection
) -> None:
    async def cost() -> str:
        query = "SELECT split_part(password_hash, '$', 3) FROM accounts WHERE id = $1"
        return str(await database.fetchval(query, lin.id))

    dearer = await run_api(PasswordSettings(bcrypt_cost=5))
    assert await cost() == "04"
    wrong = await dearer.http.post("/token", data={"username": lin.username, "password": "not the password"})
    assert (wrong.status_code, await cost()) == (400, "04")
    await dearer.sign_in(lin.username)
    assert await cost() == "05"
    await dearer.sign_in(lin.username)
    assert (await lin.get("/users/me/")).status_code == 200  # the session goes on


# ---- how often one may guess -----------------------------------------------------------------------------------------


RunLimited = Callable[..., Awaitable[Api]]


@pytest.fixture
def run_limited(run_api: RunApi, redis_url: str) -> RunLimited:
    """Starts processes that share limits with each other and with no other test."""
    prefix = f"limits{next(_numbers)}"

    async def run(redis_url: str = redis_url, **limits: Any) -> Api:
        # Patient: a Redis that is slow for a moment counts as down, and then nothing is limited.
        redis = RedisSettings(url=redis_url, key_prefix=prefix, timeout_ms=5_000, retry_after_ms=50)
        return await run_api(RateLimitSettings(enabled=True, **limits), redis)

    return run


async def guess(http: httpx.AsyncClient, name: str, password: str = "not the password") -> httpx.Response:
    """Try a password."""
    return await http.post("/token", data={"username": name, "password": password})


def refused_for_a_while(answer: httpx.Response, at_most: int) -> bool:
    """Whether this is a well-made 429."""
    if answer.status_code != 429:
        return False
    assert answer.json()["code"] == "too_many_requests"
    assert answer.headers["content-type"] == "application/problem+json"
    assert 1 <= int(answer.headers["retry-after"]) <= at_most
    return True


async def test_after_so_many_wrong_passwords_a_name_is_closed_to_that_address(run_limited: RunLimited) -> None:
    limited = await run_limited(sign_in_failures=3, sign_in_window_seconds=600)
    second = await run_limited(sign_in_failures=3, sign_in_window_seconds=600)
    lin, wang = await limited.person(), await limited.person()
    assert [(await guess(http, lin.username)).status_code for http in (limited.http, second.http, limited.http)] == [
        400
    ] * 3
    for http in (limited.http, second.http):  # all processes count together, and the right password is no help
        assert refused_for_a_while(await guess(http, lin.username), 600)
        assert refused_for_a_while(await guess(http, lin.username, lin.password), 600)
    assert (await guess(limited.http, wang.username, wang.password)).status_code == 200
    assert (await lin.get("/users/me/")).status_code == 200  # who is signed in stays so
    assert (await refresh(limited.http, lin.tokens)).status_code == 200
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=limited.http.base_url, transport=elsewhere) as http:
        assert (await guess(http, lin.username, lin.password)).status_code == 200


async def test_another_spelling_of_the_name_is_no_new_try(run_limited: RunLimited) -> None:
    limited = await run_limited(sign_in_failures=3)
    person = await limited.person()
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in person.username)
    spellings = [person.username, person.username.upper(), wide]
    assert (await guess(limited.http, wide, person.password)).status_code == 200
    assert [(await guess(limited.http, name)).status_code for name in spellings] == [400] * 3
    for name in spellings:
        assert refused_for_a_while(await guess(limited.http, name, person.password), 900)


async def test_many_guesses_at_once_are_no_more_guesses(run_limited: RunLimited) -> None:
    limited = await run_limited(sign_in_failures=3)
    second = await run_limited(sign_in_failures=3)
    person = await limited.person()
    answers = await asyncio.gather(*(guess(http, person.username) for http in [limited.http, second.http] * 8))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [400] * 3 + [429] * 13
    assert all(refused_for_a_while(answer, 900) for answer in answers if answer.status_code != 400)


async def test_the_right_password_among_too_many_guesses_at_once_is_not_told(
    run_limited: RunLimited, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = await run_limited(sign_in_failures=3)
    person = await limited.person()
    verify = limited.process.passwords.verify

    async def verify_while_others_guess(password: str, password_hash: str | None, asker: Asker) -> bool:
        monkeypatch.undo()
        for _ in range(3):
            await guess(limited.http, person.username)
        return await verify(password, password_hash, asker)

    monkeypatch.setattr(limited.process.passwords, "verify", verify_while_others_guess)
    assert refused_for_a_while(await guess(limited.http, person.username, person.password), 900)


async def test_a_sign_in_that_succeeds_does_not_count(run_limited: RunLimited) -> None:
    limited = await run_limited(sign_in_failures=2)
    person = await limited.person()
    assert (await guess(limited.http, person.username)).status_code == 400
    at_once = await asyncio.gather(*(guess(limited.http, person.username, person.password) for _ in range(6)))
    assert {answer.status_code for answer in at_once} == {200}
    assert (await guess(limited.http, person.username)).status_code == 400
    assert refused_for_a_while(await guess(limited.http, person.username, person.password), 900)


async def test_a_name_opens_again_when_its_window_has_passed(run_limited: RunLimited) -> None:
    limited = await run_limited(sign_in_failures=1, sign_in_window_seconds=1)
    person = await limited.person()
    assert (await guess(limited.http, person.username)).status_code == 400
    async with asyncio.timeout(5):
        while (answer := await guess(limited.http, person.username, person.password)).status_code == 429:
            assert answer.headers["retry-after"] == "1"
    assert answer.status_code == 200


async def test_an_address_opens_only_so_many_accounts(run_limited: RunLimited) -> None:
    limited = await run_limited(registrations=3, registration_window_seconds=600)

    def account() -> dict[str, str]:
        name = f"opened{next(_numbers)}"
        return {"username": name, "email": f"{name}@example.com", "password": PASSWORD}

    answers = await asyncio.gather(*(limited.http.post("/users/", json=account()) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 5
    assert all(refused_for_a_while(answer, 600) for answer in answers if answer.status_code != 201)
    invalid = await limited.http.post("/users/", json={})
    assert invalid.status_code == 422
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=limited.http.base_url, transport=elsewhere) as http:
        assert (await http.post("/users/", json=account())).status_code == 201


async def test_without_redis_each_process_counts_by_itself(
    run_limited: RunLimited, fragile_redis: EmbeddedValkey
) -> None:
    limited = await run_limited(redis_url=fragile_redis.url, sign_in_failures=2, registrations=2)
    person, other = await limited.person(), await limited.person()
    fragile_redis.kill()
    assert (await guess(limited.http, person.username, person.password)).status_code == 200
    assert [(await guess(limited.http, person.username)).status_code for _ in range(2)] == [400] * 2
    assert refused_for_a_while(await guess(limited.http, person.username, person.password), 900)
    assert (await guess(limited.http, other.username, other.password)).status_code == 200
    for _ in range(2):
        await limited.person()
    opened = await limited.http.post(
        "/users/", json={"username": "x" * 9, "email": "x@example.com", "password": PASSWORD}
    )
    assert refused_for_a_while(opened, 3_600)


async def test_limits_can_be_turned_off(run_api: RunApi, lin: Person) -> None:
    unlimited = await run_api(RateLimitSettings(enabled=False, sign_in_failures=1, registrations=1))
    assert [(await guess(unlimited.http, lin.username)).status_code for _ in range(4)] == [400] * 4
    for _ in range(3):
        await unlimited.person()
