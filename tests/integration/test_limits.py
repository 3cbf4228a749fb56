"""Limits that protect accounts and strangers: guesses at passwords, mails to addresses that are not proven."""

from __future__ import annotations

import ast
import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tests.conftest import RunApi
from tests.factories import PASSWORD, Api, Person
from tests.stack.waiting import until
from todo_api.dependencies import Passwords, get_mails, get_passwords
from todo_api.limits import BoundedMemory, network_of
from todo_core import redis_client
from todo_core.settings import PasswordSettings, RateLimitSettings, RedisSettings

SERVICES = Path(__file__).parents[2] / "services"
_numbers = itertools.count(1)
RunLimited = Callable[..., Awaitable[Api]]


@pytest.fixture
def run_limited(run_api: RunApi, redis_url: str) -> RunLimited:
    """Starts processes with the limits on, counted apart from every other test's."""
    prefix = f"guesses{next(_numbers)}"

    async def run(redis_url: str = redis_url, **limits: Any) -> Api:
        redis = RedisSettings(url=redis_url, key_prefix=prefix, timeout_ms=5_000, retry_after_ms=50)
        return await run_api(RateLimitSettings(enabled=True, **limits), redis)

    return run


async def guess(http: httpx.AsyncClient, name: str, password: str = "not the password") -> int:
    """The status that one try at a password gets."""
    return (await http.post("/token", data={"username": name, "password": password})).status_code


async def guess_from(api: Api, address: str, name: str, password: str = "not the password") -> int:
    """The same, from another address of this machine."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(base_url=api.http.base_url, transport=transport) as http:
        return await guess(http, name, password)


async def test_45_addresses_cannot_guess_at_one_account_without_a_429(run_limited: RunLimited) -> None:
    limited = await run_limited()
    person = await limited.person()
    statuses = [await guess_from(limited, f"127.0.1.{number}", person.username) for number in range(1, 46)]
    assert statuses[0] == 400
    assert 429 in statuses


async def test_one_address_cannot_guess_at_45_names_without_a_429(run_limited: RunLimited) -> None:
    limited = await run_limited()
    statuses = [await guess(limited.http, f"victim{number}") for number in range(45)]
    assert statuses[0] == 400
    assert 429 in statuses


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PATCH", {"password": "another long password", "current_password": "not the password"}),
        ("PATCH", {"email": "else@example.com", "current_password": "not the password"}),
        ("DELETE", {"password": "not the password"}),
    ],
)
async def test_a_stolen_access_token_does_not_open_the_password_to_guesses(
    run_limited: RunLimited, method: str, body: dict[str, str]
) -> None:
    limited = await run_limited()
    person = await limited.person()
    statuses = [(await person.request(method, "/users/me/", json=body)).status_code for _ in range(70)]
    assert statuses[0] == 403
    assert statuses[-1] == 429


async def test_right_passwords_of_one_account_from_one_network_have_a_bound(run_limited: RunLimited) -> None:
    limited = await run_limited(password_checks=5)
    person = await limited.person()  # one sign-in
    change = {"email": person.email, "current_password": person.password}
    statuses = [(await person.patch("/users/me/", json=change)).status_code for _ in range(5)]
    assert statuses == [200] * 4 + [429]
    assert await guess(limited.http, person.username, person.password) == 429
    assert await guess_from(limited, "127.0.1.1", person.username, person.password) == 200


async def test_username_and_email_of_one_account_count_together(run_limited: RunLimited) -> None:
    limited = await run_limited()
    person = await limited.person()
    names = itertools.cycle([person.username, person.email])
    statuses = [await guess(limited.http, next(names)) for _ in range(30)]
    assert statuses.count(400) == RateLimitSettings().sign_in_failures


@pytest.mark.parametrize("password", ["Password123", " " * 10, "{username}", "{email}"])
async def test_a_password_that_is_tried_first_is_refused(api: Api, lin: Person, password: str) -> None:
    number = next(_numbers)
    username, email = f"lin.weak.{number:04}", f"lin.weak.{number:04}@example.com"
    weak = password.format(username=username, email=email)
    opened = await api.http.post("/users/", json={"username": username, "email": email, "password": weak})
    assert (opened.status_code, opened.json()["code"]) == (422, "validation_failed")
    assert [fault["field"] for fault in opened.json()["errors"]] == ["password"]
    weak = password.format(username=lin.username.upper(), email=lin.email)
    changed = await lin.patch("/users/me/", json={"password": weak.ljust(10), "current_password": PASSWORD})
    assert changed.status_code == 422


async def test_a_network_that_an_account_signed_in_from_stays_open_while_the_account_is_guessed_at(
    run_limited: RunLimited,
) -> None:
    limited = await run_limited()
    person = await limited.person()
    for number in range(1, 46):
        await guess_from(limited, f"127.0.1.{number}", person.username)
    assert await guess_from(limited, "127.0.1.99", person.username, person.password) == 429
    assert await guess(limited.http, person.username, person.password) == 200


async def test_an_account_that_signed_in_from_a_network_is_not_shut_out_by_others_there(
    run_limited: RunLimited,
) -> None:
    limited = await run_limited()
    person = await limited.person()
    assert 429 in [await guess(limited.http, f"unknown{number}") for number in range(45)]
    assert await guess(limited.http, person.username, person.password) == 200
    assert await guess(limited.http, person.username) == 400


async def test_windows_move_so_no_burst_is_double(run_limited: RunLimited, redis_url: str) -> None:
    """What failed late in one window counts in the next."""
    limited = await run_limited(sign_in_failures=2, sign_in_window_seconds=2)
    person = await limited.person()
    assert await guess(limited.http, person.username) == 400
    await asyncio.sleep(1.5)
    assert await guess(limited.http, person.username) == 400
    await asyncio.sleep(0.7)  # a fixed window that began with the first is over
    assert await guess(limited.http, person.username) == 400
    assert await guess(limited.http, person.username, person.password) == 429


async def test_what_redis_keeps_of_limits_expires(run_limited: RunLimited, redis_url: str) -> None:
    limited = await run_limited()
    person = await limited.person()
    await guess(limited.http, person.username)
    redis = redis_client.connect(RedisSettings(url=redis_url))
    prefix = limited.process.redis.key_prefix
    keys = [key async for key in redis.scan_iter(f"{prefix}:*")]
    lives = {key.decode(): await redis.ttl(key) for key in keys}
    await redis.aclose()
    assert {key.split(":")[1] for key in lives} >= {"limit", "known"}
    assert all(0 < seconds <= 2_592_000 for seconds in lives.values()), lives


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("a socket", "a socket"),
    ],
)
def test_an_ipv6_address_counts_as_its_64(host: str, network: str) -> None:
    assert network_of(Request({"type": "http", "client": (host, 1)})) == network


async def test_the_process_remembers_a_bounded_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedMemory, "KEYS", 100)
    memory = BoundedMemory()
    for number in range(1_000):
        assert await memory.acquire_entry(f"key-{number}", 2, 900)
    assert await memory.reset() == 100


async def test_what_was_given_up_is_not_hashed(run_api: RunApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = await run_api(PasswordSettings(bcrypt_cost=4, threads=1))
    person = await api.person()
    gate, checked, real = threading.Event(), [], bcrypt.checkpw

    def wait(password: bytes, stored: bytes) -> bool:
        checked.append(password)
        gate.wait(10)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", wait)
    turns = api.process.passwords._turns
    running = asyncio.create_task(guess(api.http, person.username))
    await until(lambda: bool(checked), 10, "a check")
    async with httpx.AsyncClient(base_url=api.http.base_url) as hasty:
        given_up = asyncio.create_task(guess(hasty, "another"))
        await until(lambda: bool(turns._waiting), 10, "a place in the queue")
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
    await until(lambda: not turns._waiting, 10, "the place to be free again")
    gate.set()
    assert await running == 400
    assert len(checked) == 1


# ---- mails to addresses that are not proven --------------------------------------------------------------------------


async def ask_for_mail(person: Person, email: str | None = None) -> httpx.Response:
    """Take another address, if one is given, and ask for the mail that proves it."""
    if email is not None:
        changed = await person.patch("/users/me/", json={"email": email, "current_password": PASSWORD})
        assert changed.status_code == 200
    return await person.post("/users/me/verify-email")


async def test_one_account_writes_to_few_strangers_a_day_whichever_address_it_takes(api: Api, lin: Person) -> None:
    strangers = [f"stranger{next(_numbers)}-{lin.username}@example.com" for _ in range(8)]
    answers = [await ask_for_mail(lin, stranger) for stranger in strangers]
    assert [answer.status_code for answer in answers] == [202] * 5 + [429] * 3
    assert answers[-1].json()["code"] == "too_many_mails"
    assert 86_000 < int(answers[-1].headers["retry-after"]) <= 86_400


@pytest.mark.parametrize("bounds", [{"mails_network": 3}, {"mails_all": 3}])
async def test_a_network_and_everybody_together_ask_for_so_many_mails(
    run_limited: RunLimited, bounds: dict[str, int]
) -> None:
    limited = await run_limited(**bounds)
    answers = [await ask_for_mail(await limited.person()) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 3 + [429] * 2
    assert answers[-1].json()["code"] == "too_many_mails"
    (name,) = bounds
    assert limited.process.limits.refusals[name] == 2


async def test_a_mail_that_a_limit_refuses_uses_nothing_else_up(run_limited: RunLimited) -> None:
    limited = await run_limited(mails_network=1)
    first, second = await limited.person(), await limited.person()
    assert (await ask_for_mail(first)).status_code == 202
    assert (await ask_for_mail(second)).json()["code"] == "too_many_mails"
    unlimited = limited.process.limits
    await unlimited._shared.storage.clear(unlimited._mails_network.item.key_for("127.0.0.1"))
    assert (await ask_for_mail(second)).status_code == 202, "neither its address nor its own day"


# ---- every operation that checks a password or sends a mail ----------------------------------------------------------

Try = Callable[[Api, Person], Awaitable[httpx.Response]]


async def _sign_in(api: Api, person: Person) -> httpx.Response:
    return await api.http.post("/token", data={"username": person.username, "password": "not the password"})


async def _register(api: Api, person: Person) -> httpx.Response:
    name = f"walk{next(_numbers)}"
    return await api.http.post("/users/", json={"username": name, "email": f"{name}@example.com", "password": PASSWORD})


async def _change(api: Api, person: Person) -> httpx.Response:
    body = {"password": "another long password", "current_password": "not the password"}
    return await person.patch("/users/me/", json=body)


async def _delete(api: Api, person: Person) -> httpx.Response:
    return await person.request("DELETE", "/users/me/", json={"password": "not the password"})


async def _ask_for_mail(api: Api, person: Person) -> httpx.Response:
    return await ask_for_mail(person, f"walk{next(_numbers)}@example.org")


TRIES: dict[str, Try] = {
    "POST /token": _sign_in,
    "POST /users/": _register,
    "PATCH /users/me/": _change,
    "DELETE /users/me/": _delete,
    "POST /users/me/verify-email": _ask_for_mail,
}
"""How to run into each limit. An operation that checks a password or sends a mail, and is not here, fails a test."""


def limited_operations(routers: Iterable[APIRouter]) -> set[str]:
    """The operations that have been given the means to check a password or to send a mail."""

    def means(dependant: Dependant) -> bool:
        return dependant.call in {get_passwords, get_mails} or any(map(means, dependant.dependencies))

    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return {f"{method} {route.path}" for route in routes if means(route.dependant) for method in route.methods or ()}


def uses(name: str, *, within: Path = SERVICES) -> set[str]:
    """Where a name is used in the services, imports apart: `file.py:function`."""
    found: set[str] = set()

    def walk(node: ast.AST, place: str, path: Path) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            place = node.name
        if (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name):
            found.add(f"{path.name}:{place}")
        for child in ast.iter_child_nodes(node):
            walk(child, place, path)

    for path in within.rglob("*.py"):
        walk(ast.parse(path.read_text(encoding="utf-8")), "", path)
    return found


def test_every_operation_that_checks_a_password_or_sends_a_mail_is_walked(api: Api) -> None:
    assert limited_operations(api.app.state.routers) == TRIES.keys()


def test_a_new_operation_that_checks_a_password_is_found() -> None:
    router = APIRouter()

    @router.post("/users/me/export")
    async def export(passwords: Passwords) -> None: ...

    assert limited_operations([router]) == {"POST /users/me/export"}


def test_there_is_no_other_way_to_a_password_or_a_mail(tmp_path: Path) -> None:
    assert uses("bcrypt") == {f"passwords.py:{name}" for name in ("__init__", "hash", "verify")}
    # commands.py: an operator's new password, which is no try.
    assert uses("PasswordHasher") == {
        *("password_checks.py:__init__", "dependencies.py:", "dependencies.py:start", "commands.py:reset"),
    }
    assert uses("PasswordChecks") - {f"service.py:{name}" for name in ("register", "sign_in", "update", "delete")} == {
        "service.py:_confirm",
        "dependencies.py:get_passwords",
        "dependencies.py:",
    }
    assert uses("MailAllowance") == {"dependencies.py:get_mails"}
    assert uses("EmailVerification") & {"repository.py:add"} == {"repository.py:add"}
    assert uses("passwords", within=SERVICES / "api") == {
        *("dependencies.py:start", "dependencies.py:close", "dependencies.py:get_passwords", "dependencies.py:"),
        *(f"accounts.py:{name}" for name in ("register", "sign_in", "update_me", "delete_me")),
    }
    (tmp_path / "leak.py").write_text("async def leak(process): return await process.passwords.verify('a', None)")
    assert uses("passwords", within=tmp_path) == {"leak.py:leak"}


@pytest.mark.parametrize("operation", TRIES)
async def test_tries_at_every_operation_end_in_429(run_limited: RunLimited, operation: str) -> None:
    limited = await run_limited(sign_in_failures=3, registrations=4, mails_network=3)
    person = await limited.person()
    answers = [await TRIES[operation](limited, person) for _ in range(6)]
    assert answers[0].status_code != 429
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
