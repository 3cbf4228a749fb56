"""Each rendered pod runs on the engine as it is, becomes ready by its own probes, and ends in peace."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from tests.authority import Authority
from tests.k8s.conftest import TAG, Run, Stack, opened
from tests.k8s.engine import HELPER, Cluster, Container, docker
from tests.k8s.images import size
from tests.k8s.manifests import ROOT, Document, Pod, documents, operate, parse, pods, tree
from tests.worker_kit import eventually

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


@pytest.mark.ready
async def test_postgresql_and_redis_of_dev_are_what_compose_has(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.database_url)
    for name, value in (("max_connections", "200"), ("shared_buffers", "128MB"), ("data_checksums", "on")):
        assert await connection.fetchval(f"SHOW {name}") == value
    await connection.close()
    assert "NOAUTH" in await stack.redis.run("redis-cli", "ping")
    policy = await stack.redis.run("sh", "-c", "REDISCLI_AUTH=todo redis-cli config get maxmemory-policy save")
    assert set(policy.split()) == {"maxmemory-policy", "volatile-lru", "save"}
    for container in (stack.db, stack.redis):
        assert await container.succeeds(container.pod.container["livenessProbe"])


@pytest.mark.ready
@pytest.mark.parametrize("name", ["api", "worker", "beat"])
async def test_a_pod_becomes_ready_lives_and_ends_in_peace(stack: Stack, run: Run, name: str) -> None:
    container = await run(name)
    assert await container.succeeds(container.pod.container["livenessProbe"])
    await is_confined(container)
    metrics = [port["containerPort"] for port in container.pod.container.get("ports", []) if port["name"] == "metrics"]
    for port in metrics:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{container.address}:{port}/metrics")
        assert answer.status_code == 200
        assert "# TYPE todo_" in answer.text
    assert await memory(container) < size(container.pod.container["resources"]["requests"]["memory"])
    assert await container.terminate() == 0


async def memory(container: Container) -> int:
    """The bytes that it has, in the engine's own account."""
    used = (await docker("stats", "--no-stream", "--format={{.MemUsage}}", container.id)).partition("/")[0].strip()
    number, unit = re.fullmatch(r"([\d.]+)(KiB|MiB|GiB)", used).groups()  # type: ignore[union-attr]
    return int(float(number) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit])


async def is_confined(container: Container) -> None:
    """No capability, no other user, and nothing to write to but /tmp."""
    status = await container.run("cat", "/proc/1/status")
    assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)
    assert re.search(r"^Uid:\s10001\s", status, re.MULTILINE)
    trial = "for path in / /app /run /run/secrets /home /var/tmp /tmp; do touch $path/x 2>/dev/null && echo $path; done"
    assert (await container.run("sh", "-c", f"{trial}; true")).split() == ["/tmp"]


async def test_a_liveness_probe_notices_a_worker_that_hangs(run: Run) -> None:
    worker = await run("worker", environment={"WORKER_ALIVE_SECONDS": "2", "WORKER_HEARTBEAT_SECONDS": "0.5"})
    probe = worker.pod.container["livenessProbe"]
    children = "cat /proc/1/task/1/children"
    await worker.run("sh", "-c", f"for child in $({children}); do kill -STOP $child; done")
    await eventually(lambda: fails(worker, probe), 20)
    await worker.run("sh", "-c", f"for child in $({children}); do kill -CONT $child; done")
    await eventually(lambda: worker.succeeds(probe), 20)


async def fails(container: Container, probe: Document) -> bool:
    """Tell whether a probe would fail."""
    return not await container.succeeds(probe)


async def test_without_a_database_the_api_lives_and_is_not_ready(run: Run, stack: Stack) -> None:
    api = await run("api")
    await docker("pause", stack.db.id)
    try:
        await eventually(lambda: fails(api, api.pod.container["readinessProbe"]), 30)
        assert await api.succeeds(api.pod.container["livenessProbe"])
        # So the pod may stay in the balancer for as long as the probe is patient: this is what clients get meanwhile.
        async with httpx.AsyncClient(base_url=f"http://{api.address}:8000", trust_env=False, timeout=30) as client:
            answer = await client.post("/token", data={"username": "lin", "password": "wrong horse battery staple"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
        assert int(answer.headers["Retry-After"]) >= 1
    finally:
        await docker("unpause", stack.db.id)


async def test_a_backup_is_made_and_restored_by_the_pods_for_it(stack: Stack, sql: asyncpg.Connection) -> None:
    claims = {"backups": await stack.cluster.volume(owner=(0, 999))}
    await sql.execute(
        "INSERT INTO accounts (id, username, username_key, email, email_key, password_hash, locale, timezone)"
        " VALUES (gen_random_uuid(), 'lin', 'lin', 'lin@example.com', 'lin@example.com', 'x', 'en', 'UTC')"
    )
    status, said = await stack.finished("backup", claims=claims)
    assert status == 0, said
    await sql.execute("TRUNCATE accounts CASCADE")
    status, said = await stack.finished("restore", claims=claims)
    assert status != 0, said
    assert "is not empty" in said
    status, said = await stack.finished(
        "restore", claims=claims, environment={"RESTORE_ARGUMENTS": "--replace", "CONFIRM": "yes"}
    )
    assert status == 0, said
    assert await sql.fetchval("SELECT count(*) FROM accounts WHERE username = 'lin'") == 1


RCLONE = b"""#!/bin/sh
grep --quiet somewhere "$3" && [ "$1 $2 $5" = "copy --config backups:" ] && echo "$4" >>/backups/taken
"""


async def test_with_backup_upload_all_that_a_backup_is_made_of_is_taken_away(stack: Stack) -> None:
    backup = pods(documents("backup-upload", TAG))["backup"]
    backup.container["image"] = stack.pods["backup"].container["image"]
    for document in backup.documents:
        if document["metadata"]["name"].startswith("settings-"):
            document["data"]["DATABASE_URL"] = stack.pods["backup"].environment["DATABASE_URL"]
    (secrets,) = [document for document in backup.documents if document["kind"] == "Secret"]
    secrets["data"]["database_password"] = base64.b64encode(b"todo").decode()
    config = {"rclone.conf": base64.b64encode(b"[backups] somewhere").decode()}
    backup.documents.append({"kind": "Secret", "metadata": {"name": "backup-upload"}, "data": config})
    folder = await stack.cluster.volume(owner=(0, 999))
    program = await stack.cluster.volume([("rclone", RCLONE, 0o755)])
    container = await stack.cluster.start(
        backup, claims={"backups": folder}, extra=[f"--volume={program}:/usr/local/bin/tool:ro", f"--env=PATH={PATH}"]
    )
    assert await container.ended() == 0, await container.log()
    assert "is uploaded" in await container.log()
    look = ["run", "--rm", "--network=none", f"--volume={folder}:/backups:ro", "--entrypoint=cat", HELPER]
    taken = (await docker(*look, "/backups/taken")).splitlines()
    assert [path.partition(".")[2] for path in taken] == ["manifest", "dump.sha256", "dump"]


PATH = "/usr/local/bin/tool:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/17/bin"


# ---- VKE: a PostgreSQL with TLS and an authority of its own, a Redis with a password, production's refusals ----------

DATABASE = "postgres-shop.rds-pg.ivolces.com"
REDIS = "redis-shop.redis.ivolces.com"

REDIS_TLS = """protected-mode no
tls-port 6380
tls-cert-file /tls/server.pem
tls-key-file /tls/server.key
tls-ca-cert-file /tls/server.pem
tls-auth-clients no"""


def filled_in(authority: str) -> dict[str, Pod]:
    """The overlay as an operator has it, with images that are here."""
    with tree() as root:
        overlay = root / "k8s/overlays/vke"
        for example in overlay.glob("*.example"):
            text = example.read_text().replace("replace-me", "shop")
            example.with_suffix("").write_text(text)
        secrets = f"database_password=s3cret%:/\nredis_password=r3dis\ntoken_keys=2026-11:{'k' * 40}\nemail_password=\n"
        (overlay / "secrets.env").write_text(secrets)
        (overlay / "database-ca.pem").write_text(authority)
        (overlay / "redis-ca.pem").write_text(authority)
        done = operate("render", "vke", root=root, TAG=TAG, SHOW_SECRETS="yes")
    assert done.returncode == 0, done.stderr
    found = pods(parse(done.stdout))
    for pod in found.values():
        pod.container["image"] = pod.container["image"].rpartition("/")[2]
    return found


@pytest.fixture(scope="module")
async def vke(images: None) -> AsyncIterator[tuple[Cluster, dict[str, Pod]]]:
    """Provide the servers of Volcengine, at the names that the manifests have for them."""
    authority = Authority("RDS")
    certificate, key = authority.issue(DATABASE)
    dev, found = pods(documents("dev", TAG)), filled_in(authority.pem)
    passwords = found["api"].files("/run/secrets")
    # What comes from this machine then comes from ALB's own range, as far as the pods can tell.
    async with opened("vke", f"100.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}.0/24") as cluster:
        files = [("server.pem", certificate.encode(), 0o644), ("server.key", key.encode(), 0o640)]
        tls = await cluster.volume(files, owner=(0, 999))
        dev["db"].container["env"][2] = {"name": "POSTGRES_PASSWORD", "value": passwords["database_password"].decode()}
        with_tls = ["-c", "ssl=on", "-c", "ssl_cert_file=/tls/server.pem", "-c", "ssl_key_file=/tls/server.key"]
        db = await cluster.start(dev["db"], aliases=[DATABASE], extra=[f"--volume={tls}:/tls:ro"], arguments=with_tls)
        password = {"REDIS_PASSWORD": passwords["redis_password"].decode()}
        # Without TLS at one port and with it at another, so that both can be asked.
        certificate, key = authority.issue(REDIS)
        files = [("server.pem", certificate.encode(), 0o644), ("server.key", key.encode(), 0o640)]
        for_redis = await cluster.volume(files, owner=(0, 999))
        script = dev["redis"].container["args"]
        script[2] = script[2].replace("protected-mode no", REDIS_TLS)
        redis = await cluster.start(
            dev["redis"], aliases=[REDIS], environment=password, extra=[f"--volume={for_redis}:/tls:ro"]
        )
        await db.ready()
        await redis.ready()
        yield cluster, found


@pytest.mark.ready
async def test_on_vke_every_pod_becomes_ready_by_tls_and_password(vke: tuple[Cluster, dict[str, Pod]]) -> None:
    cluster, found = vke
    migration = await cluster.start(found["migrate"])
    assert await migration.ended() == 0, await migration.log()
    for name in ("api", "worker", "beat"):
        container = await cluster.start(found[name])
        await container.ready()
        if name == "api":
            async with httpx.AsyncClient(base_url=f"http://{container.address}:8000", trust_env=False) as client:
                answer = await client.get("/readyz")
            assert answer.json() == {"status": "ok", "checks": {"database": "ok", "redis": "ok"}, "down": []}
        assert await container.terminate() == 0, await container.log()
    backup = await cluster.start(found["backup"])
    assert await backup.ended() == 0, await backup.log()


async def test_on_vke_redis_may_speak_tls(vke: tuple[Cluster, dict[str, Pod]]) -> None:
    cluster, found = vke
    migration = await cluster.start(found["migrate"])
    assert await migration.ended() == 0, await migration.log()
    tls = {"REDIS_URL": f"rediss://{REDIS}:6380/0?ssl_ca_certs=/run/secrets/redis_ca"}
    api, worker, beat = [await cluster.start(found[name], environment=tls) for name in ("api", "worker", "beat")]
    for container in (api, worker, beat):
        await container.ready()
    async with httpx.AsyncClient(base_url=f"http://{api.address}:8000", trust_env=False) as client:
        assert (await client.get("/readyz")).json()["checks"] == {"database": "ok", "redis": "ok"}
    # Beat speaks to the worker by Redis alone.
    await eventually(lambda: ticked(worker), 60)
    for container in (api, worker, beat):
        await container.terminate()


async def ticked(worker: Container) -> bool:
    """Tell whether the worker has had a tick from beat."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://{worker.address}:9000/metrics")
    return any(
        float(count) > 0 for count in re.findall(r"^todo_ticks_total(?:{.*})? (\S+)$", answer.text, re.MULTILINE)
    )


LOOK = (
    "import asyncio; from todo_core.redis_client import connect; from todo_core.settings import Settings;"
    " redis = Settings.load().redis; print(asyncio.run(connect(redis).keys(f'{redis.key_prefix}:sign-in:*')))"
)
"""README.md has it, for the same question."""


async def counted(api: Container, forwarded_for: str) -> str:
    """Whom a failed sign-in is counted against."""
    async with httpx.AsyncClient(base_url=f"http://{api.address}:8000", trust_env=False) as client:
        form = {"username": "nobody", "password": "wrong horse battery staple"}
        answer = await client.post("/token", data=form, headers={"X-Forwarded-For": forwarded_for})
    assert answer.status_code == 400, answer.text
    return await api.run("python", "-c", LOOK)


async def test_limits_count_the_client_that_alb_names_and_nobody_else_is_believed(
    vke: tuple[Cluster, dict[str, Pod]], stack: Stack, run: Run
) -> None:
    cluster, found = vke
    migration = await cluster.start(found["migrate"])
    assert await migration.ended() == 0, await migration.log()
    api = await cluster.start(found["api"])
    await api.ready()
    assert LOOK in (ROOT / "k8s/README.md").read_text(encoding="utf-8")
    # The client has written the first one; ALB adds the one that it sees.
    keys = await counted(api, "198.51.100.1, 203.0.113.9")
    assert ":203.0.113.9:" in keys
    assert "198.51.100.1" not in keys
    # In dev nothing stands in front, so what a client writes there counts for nothing.
    keys = await counted(await run("api"), "203.0.113.9")
    assert f":{stack.cluster.gateway}:" in keys
    assert "203.0.113.9" not in keys


@pytest.mark.parametrize("name", ["migrate", "backup"])
async def test_on_vke_a_database_that_somebody_else_vouches_for_is_refused(
    vke: tuple[Cluster, dict[str, Pod]], name: str
) -> None:
    cluster, _ = vke
    container = await cluster.start(filled_in(Authority("Somebody else").pem)[name])
    assert await container.ended() != 0
    assert "certificate verify failed" in (await container.log()).lower()
