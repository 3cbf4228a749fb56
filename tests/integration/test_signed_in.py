"""What holds for every operation that needs an access token, walked through OpenAPI: a new one is walked as well."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import TEST_KEYS
from tests.factories import PASSWORD, Api, Person
from tests.integration.test_openapi import operations
from todo_core.accounts.signing import KeyRing
from todo_core.settings import TokenSettings

KEYS = KeyRing(TokenSettings(keys=TEST_KEYS))
SOME_ID = "01890000-0000-7000-8000-000000000000"


async def signed_operations(api: Api) -> list[tuple[str, str]]:
    """Method and path of those that need a token."""
    document = (await api.http.get("/openapi.json")).json()
    found = [(name.split()[0], name.split()[1]) for name, operation in operations(document) if "security" in operation]
    assert len(found) > 20
    return found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def token_of(person: Person) -> str:
    return str(person.tokens["access_token"])


async def deleted(api: Api) -> dict[str, str]:
    person = await api.person()
    assert (await person.request("DELETE", "/users/me/", json={"password": PASSWORD})).status_code == 204
    return person.headers


async def before_a_password_change(api: Api) -> dict[str, str]:
    person = await api.person()
    change = {"password": "another horse battery", "current_password": PASSWORD}
    assert (await person.patch("/users/me/", json=change)).status_code == 200
    return person.headers


async def expired(api: Api) -> dict[str, str]:
    person = await api.person()
    return bearer(KEYS.sign({"sub": person.id, "ver": 1, "exp": int(time.time()) - 1}))


async def of_nobody(_: Api) -> dict[str, str]:
    return bearer(KEYS.sign({"sub": str(uuid4()), "ver": 1, "exp": int(time.time()) + 900}))


async def with_strange_claims(api: Api) -> dict[str, str]:
    person = await api.person()
    return bearer(KEYS.sign({"sub": person.id, "ver": 2**31, "exp": float("inf")}))


async def garbage(_: Api) -> dict[str, str]:
    return bearer("garbage")


async def nobody(_: Api) -> dict[str, str]:
    return {}


async def with_another_scheme(_: Api) -> dict[str, str]:
    return {"Authorization": "Basic bGluOmxpbg=="}


CALLERS = [
    nobody, garbage, with_another_scheme, expired, of_nobody, with_strange_claims, deleted, before_a_password_change,
]  # fmt: skip
REQUESTS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "a body that is no JSON": {"content": b"{", "headers": {"Content-Type": "application/json"}},
    "another content type": {"content": b"x", "headers": {"Content-Type": "text/plain"}},
    "a field that is unknown": {"json": {"nonsense": 1}},
    "a body that is no object": {"json": [1]},
    "a body that is too large": {"content": b"x" * 1_100_000, "headers": {"Content-Type": "application/json"}},
    "a query that is unknown": {"params": {"nonsense": "1", "limit": "x"}},
    "headers that are not read": {"headers": {"Last-Event-ID": "x", "If-Match": "x", "If-None-Match": "x"}},
}


@pytest.mark.parametrize("wrong", REQUESTS)
@pytest.mark.parametrize("caller", CALLERS)
async def test_whoever_is_not_signed_in_hears_that_and_nothing_else(api: Api, caller: Any, wrong: str) -> None:
    credentials = await caller(api)
    options = dict(REQUESTS[wrong])
    headers = {**credentials, **options.pop("headers", {})}
    some_id = "nothing-like-an-id" if wrong == "nothing else" else SOME_ID

    async def ask(method: str, path: str) -> tuple[str, int, str, str]:
        place = re.sub(r"\{.*\}", some_id, path)
        answer = await api.http.request(method, place, headers=headers, **options)
        return f"{method} {path}", answer.status_code, answer.json()["code"], answer.headers["www-authenticate"]

    walked = await signed_operations(api)
    answers = await asyncio.gather(*(ask(*operation) for operation in walked))
    # RFC 6750, section 3.1: no error code where no token was sent.
    scheme = "Bearer" if caller is nobody else 'Bearer error="invalid_token"'
    assert answers == [(" ".join(operation), 401, "unauthenticated", scheme) for operation in walked]


@pytest.mark.parametrize(
    "wrong", [name for name in REQUESTS if name not in {"nothing else", "a query that is unknown"}]
)
async def test_whoever_is_signed_in_hears_what_is_wrong(lin: Person, wrong: str) -> None:
    statuses = {(await lin.post("/webhooks/", **REQUESTS[wrong])).status_code} | {
        (await lin.patch("/todos/nothing-like-an-id", **REQUESTS[wrong])).status_code
    }
    assert statuses <= {400, 413, 415, 422}


BODIES: dict[str, Any] = {
    "POST /todos/": {"title": "Buy milk"},
    "PATCH /todos/{todo_id}": {"title": "Buy bread"},
    "PUT /todos/{todo_id}": {"title": "Buy butter"},
    "POST /todos/{todo_id}/snooze": {"for": "PT10M"},
    "PATCH /users/me/": {"timezone": "Asia/Shanghai"},
    "PATCH /users/me/preferences": {},
    "POST /webhooks/": {"url": "https://93.184.215.14/"},
    "PATCH /webhooks/{webhook_id}": {"active": True},
    "DELETE /users/me/": {"password": PASSWORD},
}
LAST = ("DELETE /todos/{todo_id}", "DELETE /webhooks/{webhook_id}", "DELETE /users/me/")


async def test_no_answer_to_whoever_is_signed_in_is_stored_without_asking_again(api: Api, lin: Person) -> None:
    todo = await lin.add_todo(due_at="2030-01-01T00:00:00Z", reminders=[{"before": "PT1H"}])
    webhook = (await lin.post("/webhooks/", json={"url": "https://93.184.215.14/hook"})).json()
    ids = {"{todo_id}": todo["id"], "{webhook_id}": webhook["id"], "{notification_id}": SOME_ID}
    walked = await signed_operations(api)
    walked.sort(key=lambda operation: LAST.index(" ".join(operation)) if " ".join(operation) in LAST else -1)
    answers: dict[str, httpx.Response] = {}
    for method, path in walked:
        name, place = f"{method} {path}", path
        for parameter, value in ids.items():
            place = place.replace(parameter, value)
        options = {"json": BODIES[name]} if name in BODIES else {}
        async with api.http.stream(method, place, headers=lin.headers, **options) as answer:
            answers[name] = answer
    failed = {name: answer.status_code for name, answer in answers.items() if not answer.is_success}
    assert failed.pop("POST /notifications/{notification_id}/read") == 404
    assert failed == {}
    for name, answer in answers.items():
        expected = "private, no-cache" if "etag" in answer.headers else "no-store"
        assert answer.headers.get("cache-control") == expected, name
