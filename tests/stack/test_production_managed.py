"""The production set without `db` and `redis`: both are managed elsewhere, and reached by TLS with a password."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.authority import Authority
from tests.stack.managed import OTHER_NAME, POSTGRES_NAME, REDIS_NAME, Managed, managed_servers
from tests.stack.production import Production, domain_is_here, make_secrets
from tests.stack.stack import CommandFailed
from tests.stack.waiting import until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(420)]
OUTSIDE = "tests/stack/compose.managed.yaml"


@pytest.fixture(scope="module", autouse=True)
def _domain() -> Iterator[None]:
    with domain_is_here():
        yield


@pytest.fixture(scope="module")
async def managed(engine: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Managed]:
    """Start the managed servers."""
    name = f"todo-managed-{os.getpid()}"
    async with managed_servers(name, tmp_path_factory.mktemp("managed") / "files") as servers:
        yield servers


@pytest.fixture(scope="module")
async def production(managed: Managed, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Production]:
    """Start the production set on the managed servers, with an own certificate."""
    folder = tmp_path_factory.mktemp("production")
    make_secrets(
        folder / "secrets",
        database_password=managed.database_password,
        redis_password=managed.redis_password,
        database_ca=managed.authority.pem,
        redis_ca=managed.authority.pem,
    )
    set_up = Production(
        f"todo-prod-managed-{os.getpid()}",
        folder / "root.pem",
        folder=folder,
        extra_files=(OUTSIDE,),
        profiles=(),
        overrides={
            "MANAGED_NETWORK": managed.name,
            "DATABASE_URL": managed.database_url,
            "REDIS_URL": managed.redis_url,
        },
    )
    try:
        await set_up.build()
        await set_up.bring_certificate()
        await set_up.up()
        yield set_up
    finally:
        await set_up.remove()


async def test_a_reminder_comes_on_managed_servers_and_every_connection_to_them_is_encrypted(
    production: Production, managed: Managed
) -> None:
    services = set((await production.compose("ps", "--services")).split())
    assert services == {"api", "worker", "beat", "nginx"}, "no database and no Redis here"

    async with production.client() as http:
        person = await production.person(http)
        due = datetime.now(UTC) + timedelta(seconds=3)
        todo = await person.add_todo("Renew the passport", due_at=due.isoformat())

        async def told() -> bool:
            inbox = (await person.get("/notifications/")).json()["items"]
            return [item["todo_id"] for item in inbox] == [todo["id"]]

        await until(told, 15, "the reminder in the inbox")

    by_tls = await managed.sql(
        "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
    )
    assert by_tls == "t"
    clients = (await managed.redis("CLIENT", "LIST")).splitlines()
    assert len([client for client in clients if "addr=127.0.0.1" not in client]) >= 3, "API, worker and beat"
    assert "todo:" in await managed.redis("--scan"), "the cache's and the broker's keys are there"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param(POSTGRES_NAME, "CERTIFICATE_VERIFY_FAILED", id="another authority"),
        pytest.param(OTHER_NAME, "Hostname mismatch", id="another name"),
    ],
)
async def test_a_database_that_cannot_prove_its_name_is_refused(
    production: Production, managed: Managed, url: str, said: str
) -> None:
    folder = production.folder / said.replace(" ", "-")
    folder.mkdir(mode=0o755, exist_ok=True)
    authority = managed.authority if url == OTHER_NAME else Authority("Somebody else")
    make_secrets(folder / "secrets", database_password=managed.database_password, database_ca=authority.pem)
    before = dict(production.overrides)
    production.overrides |= {
        "DATABASE_URL": managed.database_url.replace(POSTGRES_NAME, url),
        "SECRETS_DIR": str(folder / "secrets"),
    }
    try:
        with pytest.raises(CommandFailed, match=said):
            await production.compose("run", "--rm", "--no-deps", "--no-TTY", "migrate")
    finally:
        production.overrides = before


async def test_a_redis_that_cannot_prove_its_name_is_refused(production: Production, managed: Managed) -> None:
    folder = production.folder / "other-redis"
    folder.mkdir(exist_ok=True)
    make_secrets(folder / "secrets", redis_password=managed.redis_password, redis_ca=Authority("Somebody else").pem)
    ping = (
        "import asyncio; from todo_core.redis_client import connect; from todo_core.settings import RedisSettings;"
        " print(asyncio.run(connect(RedisSettings()).ping()))"
    )
    command = ("run", "--rm", "--no-deps", "--no-TTY", "migrate", "python", "-c", ping)
    assert (await production.compose(*command)).strip() == "True"
    before = dict(production.overrides)
    production.overrides["SECRETS_DIR"] = str(folder / "secrets")
    try:
        with pytest.raises(CommandFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await production.compose(*command)
    finally:
        production.overrides = before
    assert REDIS_NAME in managed.redis_url
