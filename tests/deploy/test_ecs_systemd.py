"""The road without containers, on a bare Debian 12 with systemd: installed, served over TLS, upgraded, rolled back."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.conftest import TOLD
from tests.deploy.host import ROOT, Host, docker
from tests.stack.load import Options, loading
from tests.worker_kit import eventually

SERVICES = ("todo-api.service", "todo-worker.service", "todo-beat.service")
UNITS = (*SERVICES, "todo-api.socket", "todo-backup.service", "todo-backup.timer")
PASSWORD = "correct horse battery staple"

pytestmark = pytest.mark.timeout(900)


def client(host: Host, authority: Path) -> httpx.AsyncClient:
    """Comes in through nginx, and trusts the host's own certificate alone."""
    return httpx.AsyncClient(
        base_url=f"https://localhost:{host.port(443)}",
        verify=ssl.create_default_context(cafile=authority),
        timeout=60,
        trust_env=False,
    )


def changed(said: str) -> list[str]:
    """The tasks that changed something, or would."""
    tasks = re.split(r"^(?:TASK|RUNNING HANDLER) \[(.*)\] \**$", said, flags=re.MULTILINE)
    return [name for name, text in zip(tasks[1::2], tasks[2::2], strict=True) if "\nchanged: " in text]


def current(host: Host) -> str:
    """The release that serves."""
    return host.run("basename $(readlink /opt/todo/current)").strip()


def test_a_dry_run_shows_each_change_and_makes_none(bare: Host) -> None:
    bare.run("apt-get update -qq", seconds=120)
    before = _changes(bare)
    status, said = bare.make("ecs-deploy", TOLD)
    assert status == 0, said
    assert {"Install packages", "Write the settings, once", "Let nginx and systemd read the current release"} <= set(
        changed(said)
    )
    assert "+DATABASE_URL=postgresql://todo@/todo?host=/run/postgresql" in said
    assert said.strip().endswith("Nothing was changed. With CONFIRM=yes it is.")
    assert _changes(bare) == before


def _changes(host: Host) -> set[str]:
    own = re.compile(r"/(root|etc/passwd|var/(log|lib/systemd))")  # of whoever comes in by SSH
    return {line for line in docker("diff", host.name).splitlines() if not own.search(line)}


def test_a_first_deploy_without_a_name_or_a_database_is_refused_in_words(bare: Host) -> None:
    for told in ("-e with_postgresql=yes -e with_redis=yes", "-e domain=localhost -e with_redis=yes"):
        status, said = bare.make("ecs-deploy", told)
        assert status != 0
        assert 'say ARGS=\\"-e domain=todo.example.com -e with_postgresql=yes' in said


def test_what_managed_services_need_is_prepared_as_the_page_says(bare: Host) -> None:
    page = (ROOT / "deploy" / "ecs" / "README.md").read_text(encoding="utf-8")
    (block,) = (
        text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "rds-ca.pem" in text and "install" in text
    )
    bare.run(f"cd /tmp && touch ca.pem && set -e\n{block.replace('<ca.pem>', 'ca.pem')}")
    listed = bare.run("cd /etc/todo && stat --format '%a %n' rds-ca.pem secrets secrets/*").splitlines()
    assert listed == ["644 rds-ca.pem", "700 secrets", "600 secrets/database_password", "600 secrets/redis_password"]


def test_a_second_deploy_of_the_same_commit_changes_nothing(installed: Host) -> None:
    _deploy(installed)  # whatever other tests have left in service
    pids = installed.run(f"systemctl show --property MainPID {' '.join(SERVICES)}")
    assert changed(_deploy(installed)) == []
    assert installed.run(f"systemctl show --property MainPID {' '.join(SERVICES)}") == pids


def _deploy(host: Host, **options: Any) -> str:
    status, said = host.make("ecs-deploy", CONFIRM="yes", **options)
    assert status == 0, said
    return said


def test_systemd_accepts_the_units_and_finds_them_little_exposed(installed: Host) -> None:
    assert installed.run(f"systemd-analyze verify {' '.join(UNITS)}") == ""
    for unit in (*SERVICES, "todo-backup.service"):
        # In tenths: 15 is 1.5.
        installed.run(f"systemd-analyze security --threshold=15 {unit}")


def test_all_of_it_starts_with_the_host(installed: Host) -> None:
    installed.run(f"systemctl is-enabled nginx {' '.join(unit for unit in UNITS if unit != 'todo-backup.service')}")


@pytest.mark.parametrize("unit", SERVICES)
def test_a_process_has_no_more_rights_than_its_unit_says(installed: Host, unit: str) -> None:
    pid = installed.run(f"systemctl show --property MainPID --value {unit}").strip()
    status = dict(
        line.split(":\t", 1) for line in installed.run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [installed.run("id -u todo").strip()] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


def test_secrets_and_settings_are_for_root_and_the_service_alone(installed: Host) -> None:
    listed = installed.run("stat --format '%a %U:%G' /etc/todo/secrets /etc/todo/secrets/* /etc/todo/todo.env")
    assert set(listed.splitlines()) == {"750 root:todo", "640 root:todo"}
    # No user but root can write to what the service runs.
    assert installed.run("find /opt/todo -not -type l \\( -perm /022 -o -not -user root \\) -print") == ""


async def test_a_todo_is_made_completed_and_reminded_of_through_nginx(installed: Host, authority: Path) -> None:
    async with client(installed, authority) as http:
        account = {"username": "lin", "email": "lin@example.com", "password": PASSWORD}
        assert (await http.post("/users/", json=account)).status_code == 201
        token = (await http.post("/token", data={"username": "lin", "password": PASSWORD})).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        due = datetime.now(UTC) + timedelta(seconds=2)
        made = await http.post("/todos/", json={"title": "Renew the passport", "due_at": due.isoformat()})
        assert made.status_code == 201
        inbox: list[str] = []

        async def reminded() -> bool:
            inbox[:] = [item["todo_id"] for item in (await http.get("/notifications/")).json()["items"]]
            return bool(inbox)

        await eventually(reminded, seconds=30)
        assert inbox == [made.json()["id"]]
        completed = await http.post(f"/todos/{made.json()['id']}/complete")
        assert (completed.status_code, completed.json()["completed"]) == (200, True)


async def test_nginx_answers_as_the_containers_nginx_does(installed: Host, authority: Path) -> None:
    async with client(installed, authority) as http:
        alive = await http.get("/livez")
        assert alive.headers["strict-transport-security"] == "max-age=63072000"
        assert alive.headers["x-content-type-options"] == "nosniff"
        assert "alt-svc" not in alive.headers
        for path in ("/readyz", "/metrics"):
            _is_problem(await http.get(path), 404, "not_found")
        _is_problem(await http.post("/todos/", content=b"x" * 2_000_000), 413, "body_too_large")
        chinese = await http.get("/readyz", headers={"Accept-Language": "zh-CN"})
        assert re.search("[一-鿿]", chinese.json()["title"])
        redirected = await http.get(f"http://localhost:{installed.port(80)}/todos/?limit=1")
    assert (redirected.status_code, redirected.headers["location"]) == (308, "https://localhost/todos/?limit=1")
    # From another address than everybody else here, whose share this is not.
    codes = installed.run(
        "for _ in $(seq 40); do curl --silent --cacert /etc/todo/tls/fullchain.pem --output /dev/null"
        " --write-out '%{http_code}\\n' https://localhost/token -d username=nobody -d password=none; done"
    )
    assert "429" in codes.split()
    line = json.loads(installed.run("tail -1 /var/log/nginx/todo-access.log"))
    assert line["path"] == "/token"
    assert line["request_id"]


def _is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "target", ["/%", "/%zz", "/%00", "/../x", "/a b", f"/{'x' * 9000}"], ids=lambda target: target[:8]
)
def test_a_malformed_address_is_refused_and_makes_no_alarm(installed: Host, target: str) -> None:
    answer = _raw(installed, 443, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition("\r\n\r\n")
    assert re.match(r"HTTP/1.1 4\d\d ", head), head
    assert "content-type: application/problem+json" in head.lower()
    assert json.loads(body)["code"] == "http_error"


def test_the_redirect_to_https_names_this_host_whatever_it_is_asked_for(installed: Host) -> None:
    answer = _raw(installed, 80, "GET /x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert "evil.example" not in answer


def _raw(host: Host, port: int, request: str) -> str:
    """Send these bytes, which no client library would."""
    with socket.create_connection(("127.0.0.1", host.port(port)), timeout=10) as plain:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = context.wrap_socket(plain) if port == 443 else plain
        with stream:
            stream.sendall(request.encode())
            return b"".join(iter(lambda: stream.recv(65_536), b"")).decode()


async def test_metrics_are_served_to_this_host_alone(installed: Host) -> None:
    installed.run("curl --silent --unix-socket /run/todo/api.sock --output /dev/null http://localhost/todos/")
    for port, name in ((9101, "todo_http_request_duration_seconds"), (9102, "todo_ticks_total")):

        async def measured(command: str = f"curl --silent 127.0.0.1:{port}/metrics | grep --quiet {name}") -> bool:
            return installed.status(command)[0] == 0

        await eventually(measured, seconds=30)
    address = installed.run("hostname -i").strip()
    assert installed.status(f"curl --silent --max-time 2 {address}:9101/metrics")[0] == 7


async def test_an_upgrade_and_a_rollback_fail_no_request(
    installed: Host, authority: Path, next_release: Callable[..., Path]
) -> None:
    before, tree = current(installed), next_release()
    options = Options(f"https://localhost:{installed.port(443)}", authority, rate=60)
    async with loading(options) as load:
        await asyncio.sleep(2)
        # In threads, as the load is made by this very event loop.
        said = await asyncio.to_thread(_deploy, installed, tree=tree)
        upgraded = await asyncio.to_thread(current, installed)
        assert upgraded != before, said
        await asyncio.sleep(2)
        status, said = await asyncio.to_thread(installed.make, "ecs-rollback", CONFIRM="yes")
        assert status == 0, said
        await asyncio.sleep(2)
        await load.stop()
        print(load.tally)
        assert load.tally.failures == []
        assert await load.faults() == []
    assert current(installed) == before


@pytest.mark.parametrize(
    ("file", "edit", "sentence"),
    [
        ("services/api/src/todo_api/main.py", "1i import no_such_module", "No module named 'no_such_module'"),
        ("deploy/ecs/todo.conf.j2", "1i nonsense;", "did not work, and {before} serves again"),
        (
            "services/api/src/todo_api/dependencies.py",
            's/^    def start(cls.*/&\\n        raise SystemError("broken")/',
            "did not work, and {before} serves again",
        ),
    ],
    ids=["cannot be loaded", "nginx refuses it", "ends as soon as it is started"],
)
async def test_a_release_that_does_not_work_does_not_stay(  # noqa: PLR0917
    installed: Host, authority: Path, next_release: Callable[..., Path], file: str, edit: str, sentence: str
) -> None:
    before = current(installed)
    tree = next_release(**{file: edit, "deploy/ecs/systemd/todo-api.service": "s/MemoryMax=1G/MemoryMax=2G/"})
    status, said = installed.make("ecs-deploy", tree=tree, CONFIRM="yes")
    assert status != 0
    assert sentence.format(before=before) in said
    assert current(installed) == before
    assert installed.run("systemctl show --property MemoryMax --value todo-api").strip() == str(2**30)
    installed.run(f"nginx -t -q && systemctl is-active {' '.join(SERVICES)}")
    async with client(installed, authority) as http:
        assert (await http.get("/livez")).status_code == 200


def test_refused_settings_stop_the_api_once_and_for_all(installed: Host) -> None:
    installed.run("cp -a /etc/todo/secrets/token_keys /root/token_keys && echo short:key >/etc/todo/secrets/token_keys")
    try:
        installed.status("systemctl restart todo-api.service", seconds=100)
        installed.run(
            "for _ in $(seq 100); do [ $(systemctl is-active todo-api) != failed ] || exit 0; sleep 0.1; done; exit 1"
        )
        assert installed.run("systemctl show --property ExecMainStatus --value todo-api").strip() == "3"
        assert "TOKEN_KEYS: the secret of key 'short'" in installed.run("journalctl --unit todo-api --lines 20")
        status, said = installed.status("todo-admin check-settings")
        assert (status, "TOKEN_KEYS" in said) == (2, True)
    finally:
        installed.run("cp -a /root/token_keys /etc/todo/secrets/token_keys && systemctl restart todo-api.service")


async def test_a_backup_of_the_timer_is_restored_as_the_page_says(installed: Host, authority: Path) -> None:
    page = (ROOT / "deploy" / "ecs" / "README.md").read_text(encoding="utf-8")
    (restore,) = (text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "restore.sh" in text)
    async with client(installed, authority) as http:
        account = {"username": "kept", "email": "kept@example.com", "password": PASSWORD}
        assert (await http.post("/users/", json=account)).status_code == 201
        installed.run("systemctl start todo-backup.service")
        await http.post("/users/", json={"username": "lost", "email": "lost@example.com", "password": PASSWORD})
        installed.run(f"set -e\n{restore}", seconds=200)
        found: dict[str, Any] = {}
        for name in ("kept", "lost"):
            answer = await http.post("/token", data={"username": name, "password": PASSWORD})
            found[name] = answer.status_code
        assert found == {"kept": 200, "lost": 400}
