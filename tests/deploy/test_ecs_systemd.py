"""The road without containers, carried out on a bare Debian 12: installed, served over TLS, upgraded, rolled back.

systemd itself cannot run here: manager.py carries out the units' own ExecStart lines, with their users, environments,
socket and filters.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.conftest import INSTALL, SOURCES
from tests.deploy.host import HERE, ROOT, Host
from tests.stack.load import Options, loading
from tests.worker_kit import eventually

SERVICES = ("todo-api.service", "todo-worker.service", "todo-beat.service")
UNITS = (*SERVICES, "todo-api.socket", "todo-backup.service", "todo-backup.timer")
PASSWORD = "correct horse battery staple"
CURRENT = "/opt/todo/current/deploy/ecs/install.sh"
ALWAYS = {
    "a trial: its settings are accepted, and all of it can be loaded",
    "the migrations of this release",
}

pytestmark = pytest.mark.timeout(600)


def client(host: Host, authority: Path) -> httpx.AsyncClient:
    """Comes in through nginx, and trusts nobody but the host's own authority."""
    return httpx.AsyncClient(
        base_url=f"https://localhost:{host.port(443)}",
        verify=ssl.create_default_context(cafile=authority),
        timeout=60,
        trust_env=False,
    )


def done(output: str) -> set[str]:
    """What install.sh says that it did."""
    return {line.strip().removeprefix("do").strip() for line in output.splitlines() if line.startswith("  do ")}


def main_pid(host: Host, unit: str) -> int:
    """A service's main process."""
    return int(host.run(f"systemctl show --property MainPID --value {unit}"))


def test_the_installer_says_what_it_would_do_and_does_nothing(bare: Host) -> None:
    bare.take(*SOURCES, to="/src")
    before = _changes(bare)
    said = bare.run(f"{INSTALL} --check --domain localhost --with-postgresql --with-redis")
    assert _changes(bare) == before
    would = [line for line in said.splitlines() if line.startswith("  would ")]
    assert any("packages ca-certificates curl nginx openssl python3" in line for line in would)
    assert any("/opt/todo/current pointing at" in line for line in would)
    assert not done(said)


def _changes(host: Host) -> set[str]:
    told = subprocess.run(["docker", "diff", host.name], capture_output=True, text=True, check=True, timeout=60)
    return set(told.stdout.splitlines())


def test_the_installer_refuses_in_one_sentence(bare: Host) -> None:
    bare.take(*SOURCES, to="/src")
    for arguments, sentence in {
        "": "the name that people reach it by is missing",
        "--domain localhost": "where is PostgreSQL?",
        "--domain localhost --with-postgresql": "where is Redis?",
        "--domain localhost --colour red": "there is no option --colour",
        "--domain": "--domain needs a value",
        "rollback": "there is no release before this one",
        "--release a/b --domain localhost --with-postgresql --with-redis": "is no name for a release",
    }.items():
        status, said = bare.status(f"{INSTALL} {arguments}")
        assert status in {1, 2}, arguments
        assert sentence in said
        assert len(said.strip().splitlines()) == 1


def test_the_same_command_may_be_said_again_after_an_interruption(bare: Host) -> None:
    bare.take(*SOURCES, to="/src")
    urls = {
        "database": "postgresql://todo@db.example:5432/todo?sslmode=require&x=|1",
        "redis": "redis://redis.example/0",
    }
    command = f"{INSTALL} --check --domain localhost"
    told = " ".join(f"--{name}-url '{url}'" for name, url in urls.items())
    bare.run(f"useradd --system --user-group todo && mkdir /etc/todo && {command} {told}")
    bare.run(
        f"set -- && HERE=/src/deploy/ecs DOMAIN=localhost DATABASE_URL='{urls['database']}' REDIS_URL='{urls['redis']}'"
        " && . $HERE/lib/steps.sh && . $HERE/lib/host.sh && write_settings"
    )
    assert "the settings, in /etc/todo/todo.env" in bare.run(f"{command} {told}")
    for name, url in urls.items():
        status, said = bare.status(f"{command} {told.replace(url, f'{url}1')}")
        assert (status, len(said.splitlines())) == (1, 1)
        assert f"has another {name.upper()}_URL" in said


def test_what_managed_services_need_is_prepared_as_the_pages_say(bare: Host) -> None:
    for page in ("README.md", "README.zh-CN.md"):
        text = (ROOT / "deploy" / "ecs" / page).read_text(encoding="utf-8")
        block = re.findall(r"```sh\n(.*?)```", text[: text.index("--database-url")] + "```", re.DOTALL)[-1]
        lines = [line.strip() for line in block.splitlines()]
        lines = lines[: next(number for number, line in enumerate(lines) if line.startswith("deploy/ecs/install.sh"))]
        bare.run("rm -rf /etc/todo && mkdir -p /tmp/here && touch /tmp/here/ca.pem")
        prepare = re.sub(r"<[^>]*ca\.pem>", "ca.pem", "\n".join(lines))
        bare.run(f"set -e\ncd /tmp/here\n{prepare}")
        listed = bare.run("cd /etc/todo && stat --format '%a %n' . rds-ca.pem secrets secrets/*").splitlines()
        assert [line for line in listed if not line.startswith("600 ")] == ["755 .", "644 rds-ca.pem", "700 secrets"]
        assert [line for line in listed if line.startswith("600 ")] == [
            "600 secrets/database_password",
            "600 secrets/redis_password",
        ]


def test_a_second_run_changes_nothing(installed: Host) -> None:
    # Whatever other tests have left in service.
    installed.run(f"{INSTALL} --release first", seconds=120)
    before = [main_pid(installed, unit) for unit in SERVICES]
    secrets = installed.run("sha256sum /etc/todo/secrets/* /etc/todo/todo.env")
    for again in (f"{INSTALL} --release first", CURRENT):
        assert done(installed.run(again, seconds=120)) == ALWAYS
    assert [main_pid(installed, unit) for unit in SERVICES] == before
    assert installed.run("sha256sum /etc/todo/secrets/* /etc/todo/todo.env") == secrets


def test_systemd_accepts_the_units_and_finds_them_little_exposed(installed: Host) -> None:
    assert installed.run(f"cd /etc/systemd/system && /usr/bin/systemd-analyze verify {' '.join(UNITS)}") == ""
    for unit in (*SERVICES, "todo-backup.service"):
        # In tenths: 30 is 3.0.
        installed.run(f"/usr/bin/systemd-analyze security --offline=yes --threshold=30 {unit}")
        said = installed.run(f"/usr/bin/systemd-analyze security --offline=yes {unit} | tail -1")
        print(said.strip())


@pytest.mark.parametrize("unit", SERVICES)
def test_a_process_has_no_more_rights_than_its_unit_says(installed: Host, unit: str) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in installed.run(f"cat /proc/{main_pid(installed, unit)}/status").splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split() == [installed.run("id -u todo").strip()] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


def test_secrets_and_settings_are_for_root_and_the_service_alone(installed: Host) -> None:
    listed = installed.run("stat --format '%a %U:%G %n' /etc/todo/secrets /etc/todo/secrets/* /etc/todo/todo.env")
    assert {line.rsplit(" ", 1)[0] for line in listed.splitlines()} == {"750 root:todo", "640 root:todo"}
    # Nobody who may run a program of the host's can write to what the service runs.
    others = "-not -type l \\( -perm /022 -o -not -user root \\)"
    assert installed.run(f"find /opt/todo -path /opt/todo/cache -prune -o {others} -print") == ""
    assert installed.run("stat --format %a /opt/todo/cache").strip() == "700"


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
        "for _ in $(seq 40); do curl --silent --cacert /etc/todo/tls/bootstrap/ca.pem --output /dev/null"
        " --write-out '%{http_code}\\n' https://localhost/token -d username=nobody -d password=none; done"
    )
    assert "429" in codes.split()
    line = installed.run("tail -1 /var/log/nginx/todo-access.log")
    assert '"path":"/token"' in line
    assert '"request_id":"' in line


def _is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_metrics_are_served_to_this_host_alone(installed: Host) -> None:
    # Tests come in any order, and processes that were just started have measured nothing, or do not listen yet.
    installed.run("curl --silent --unix-socket /run/todo/api.sock --output /dev/null http://localhost/todos/")
    for port, name in ((9101, "todo_http_request_duration_seconds"), (9102, "todo_ticks_total")):

        async def measured(command: str = f"curl --silent 127.0.0.1:{port}/metrics | grep --quiet {name}") -> bool:
            return installed.status(command)[0] == 0

        await eventually(measured, seconds=30)
    address = installed.run("hostname -i").strip()
    assert installed.status(f"curl --silent --max-time 2 {address}:9101/metrics")[0] == 7


async def test_an_upgrade_and_a_rollback_fail_no_request(installed: Host, authority: Path) -> None:
    def current() -> str:
        return installed.run("basename $(readlink /opt/todo/current)").strip()

    options = Options(f"https://localhost:{installed.port(443)}", authority, rate=60)
    async with loading(options) as load:
        await asyncio.sleep(2)
        # In threads, as the load is made by this very event loop.
        said = await asyncio.to_thread(_ecs_deploy, installed)
        upgraded = await asyncio.to_thread(current)
        assert f"/opt/todo/current pointing at {upgraded}" in done(said)
        await asyncio.sleep(2)
        status = await asyncio.to_thread(installed.run, f"{CURRENT} status")
        assert re.search(rf"{upgraded}  {upgraded.rpartition('-')[2]}[0-9a-f]{{28}} \(current\)", status)
        said = await asyncio.to_thread(installed.run, f"{CURRENT} rollback", seconds=120)
        assert "the migrations" not in said
        await asyncio.sleep(2)
        await load.stop()
        print(load.tally)
        assert load.tally.failures == []
        assert await load.faults() == []
    assert current() != upgraded


def _ecs_deploy(host: Host) -> str:
    """What is committed, by the command that a person would use."""
    way = HERE / "ssh-into-container.sh"
    asked = subprocess.run(
        ["make", "ecs-deploy", f"HOST=root@{host.name}", f"SSH={way}", "CONFIRM=yes"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout + asked.stderr
    return asked.stdout


@pytest.mark.parametrize(
    ("file", "edit", "sentence"),
    [
        ("services/api/src/todo_api/main.py", "1i import no_such_module", "would not start"),
        ("deploy/ecs/nginx/todo.conf.template", "1i nonsense;", "nginx does not take the site"),
        (
            "services/api/src/todo_api/dependencies.py",
            's/^    def start(cls.*/&\\n        raise SystemError("broken")/',
            "did not work, and {before} serves again",
        ),
    ],
    ids=["cannot be loaded", "nginx refuses it", "ends as soon as it is started"],
)
async def test_a_release_that_does_not_work_does_not_stay(
    installed: Host, authority: Path, file: str, edit: str, sentence: str
) -> None:
    before, state = installed.run("basename $(readlink /opt/todo/current)").strip(), _in_service(installed)
    installed.run("rm -rf /tmp/broken && cp -r /src /tmp/broken")
    installed.run(f"cd /tmp/broken && sed -i '{edit}' {file} && ! cmp --silent {file} /src/{file}")
    # It brings a site and units of its own as well.
    installed.run(
        "cd /tmp/broken && for file in nginx/proxy.inc deploy/ecs/systemd/*.service; do echo '# New' >>$file; done"
    )
    name = f"broken-{Path(file).name.partition('.')[0]}"
    status, said = installed.status(f"/tmp/broken/deploy/ecs/install.sh --release {name}", seconds=240)
    assert status == 1, said
    assert sentence.format(before=before) in said
    assert _in_service(installed) == state
    async with client(installed, authority) as http:
        assert (await http.get("/livez")).status_code == 200


def _in_service(host: Host) -> str:
    """The release that serves, the one that `rollback` would serve, and what nginx and systemd have of a release."""
    return host.run(
        "for name in current previous; do echo $name $(readlink /opt/todo/$name); done;"
        " find /etc/nginx/todo /etc/nginx/sites-available/todo /etc/systemd/system/todo-* -type f |"
        " sort | xargs sha256sum"
    )


def test_refused_settings_stop_the_api_once_and_for_all(installed: Host) -> None:
    installed.run("cp -a /etc/todo/secrets/token_keys /root/token_keys && echo short:key >/etc/todo/secrets/token_keys")
    try:
        installed.status("systemctl restart todo-api.service", seconds=100)
        installed.run(
            "for _ in $(seq 100); do [ $(systemctl is-active todo-api) != failed ] || exit 0; sleep 0.1; done; exit 1"
        )
        assert installed.run("systemctl show --property ExecMainStatus --value todo-api").strip() == "3"
        assert "TOKEN_KEYS: the secret of key 'short'" in installed.run("tail -20 /var/log/units/todo-api.service")
        status, said = installed.status("todo-admin check-settings")
        assert (status, "TOKEN_KEYS" in said) == (2, True)
    finally:
        installed.run("cp -a /root/token_keys /etc/todo/secrets/token_keys && systemctl restart todo-api.service")


async def test_a_backup_of_the_timer_is_restored_by_hand(installed: Host, authority: Path) -> None:
    async with client(installed, authority) as http:
        account = {"username": "kept", "email": "kept@example.com", "password": PASSWORD}
        assert (await http.post("/users/", json=account)).status_code == 201
        installed.run("systemctl start todo-backup.service")
        await http.post("/users/", json={"username": "lost", "email": "lost@example.com", "password": PASSWORD})
        installed.run("systemctl stop todo-api.socket todo-api todo-worker todo-beat", seconds=100)
        installed.run(
            "cd / && runuser --user todo -- env PGHOST=/run/postgresql BACKUP_DIR=/var/lib/todo-backups CONFIRM=yes"
            " /opt/todo/current/ops/restore.sh --replace"
        )
        installed.run("systemctl start todo-api.socket todo-api todo-worker todo-beat", seconds=100)
        found: dict[str, Any] = {}
        for name in ("kept", "lost"):
            answer = await http.post("/token", data={"username": name, "password": PASSWORD})
            found[name] = answer.status_code
        assert found == {"kept": 200, "lost": 400}
