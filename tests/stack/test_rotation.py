"""Secrets of the production set, made and rotated on the running stack as on a host."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from jose import jwt

from tests.factories import PASSWORD, Person
from tests.stack.production import Production, domain_is_here
from tests.stack.stack import CommandFailed, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(420)]


@pytest.fixture(scope="module", autouse=True)
def _domain() -> Iterator[None]:
    with domain_is_here():
        yield


@pytest.fixture(scope="module")
async def production(engine: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Production]:
    """Start the production set with the secrets of `make secrets` and an own certificate."""
    folder = tmp_path_factory.mktemp("production")
    set_up = Production(f"todo-rotation-{os.getpid()}", folder / "root.pem", folder=folder)
    try:
        await make(set_up, "secrets")
        await set_up.build()
        await set_up.bring_certificate()
        await set_up.up()
        yield set_up
    finally:
        await set_up.remove()


async def make(production: Production, *arguments: str) -> str:
    """Run a target of the Makefile and return its output."""
    return await run("make", "--silent", *arguments, env=production.env, seconds=300)


def secret(production: Production, name: str) -> str:
    """Return the contents of a secret's file."""
    path: Path = production.folder / "secrets" / name
    return path.read_text(encoding="utf-8").strip()


@asynccontextmanager
async def asked_all_the_while(person: Person) -> AsyncIterator[Counter[int]]:
    """Request the own account with the same token ten times a second during the block; count the statuses."""
    answers: Counter[int] = Counter()
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            answers[(await person.get("/users/me/")).status_code] += 1
            await asyncio.sleep(0.1)

    asking = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        over.set()
        await asking


async def signing_key(person: Person, http: httpx.AsyncClient) -> str:
    """Return the id of the key that signs tokens now."""
    answer = await http.post("/token", data={"username": person.username, "password": PASSWORD})
    return str(jwt.get_unverified_header(answer.json()["access_token"])["kid"])


async def test_token_keys_rotate_under_load_and_nobody_is_signed_out(production: Production) -> None:
    async with production.client() as http:
        person = await production.person(http)
        before = await signing_key(person, http)
        async with asked_all_the_while(person) as answers:
            said = await make(production, "rotate-secrets")
        assert answers.total() > 50
        assert set(answers) == {200}, "a token that the old key signed is good all the while"
        newest, old = (key.partition(":")[0] for key in secret(production, "token_keys").split(","))
        assert (await signing_key(person, http), old) == (newest, before)
        assert not any(key.partition(":")[2] in said for key in secret(production, "token_keys").split(","))

        with pytest.raises(CommandFailed, match="good for another"):
            await make(production, "rotate-secrets", "DROP_OLD=1")
        await make(production, "rotate-secrets", "DROP_OLD=now")
        assert (await person.get("/users/me/")).status_code == 401
        form = {"grant_type": "refresh_token", "refresh_token": person.tokens["refresh_token"]}
        person.tokens = (await http.post("/token", data=form)).json()
        assert (await person.get("/users/me/")).status_code == 200, "who is signed in stays signed in"


async def test_the_databases_password_rotates_and_every_process_knows_the_new_one(production: Production) -> None:
    old = secret(production, "database_password")
    production.profiles = ("db", "redis", "backup")
    await production.compose("up", "--detach", "--wait", "--no-deps", "backup")
    async with production.client() as http:
        person = await production.person(http)
        async with asked_all_the_while(person) as answers:
            await make(production, "rotate-secrets", "WHAT=database")
        new = secret(production, "database_password")
        assert new != old
        assert set(answers) <= {200, 503}
        assert answers[200] > answers[503]
        assert (await person.add_todo("It is written"))["id"]
    await make(production, "backup")
    for service in ("api", "worker", "beat", "backup"):
        for container in await production.containers(service):
            mounted = await run("docker", "exec", container["Id"], "cat", "/run/secrets/database_password")
            assert mounted.strip() == new, service
    psql = ("psql", "-h", "db", "-U", "todo", "-c", "SELECT 1")
    with pytest.raises(CommandFailed, match="password authentication failed"):
        await production.compose("exec", "--no-TTY", "--env", f"PGPASSWORD={old}", "db", *psql)
