"""The units of ECS hosts: what they set is known to the settings, and they fit each other and what runs in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.deploy.units import Unit, environment_file, load
from todo_core.settings import Settings, variable_name

ECS = Path(__file__).resolve().parent.parent.parent / "deploy" / "ecs"
UNITS = ECS / "systemd"
SERVICES = ("todo-api.service", "todo-worker.service", "todo-beat.service", "todo-backup.service")
KNOWN = {variable_name(concern, name): concern for concern in Settings.CONCERNS for name in concern.model_fields}
OF_OTHERS = {
    "WEB_CONCURRENCY",  # Gunicorn's
    "PGHOST", "BACKUP_DIR", "BACKUP_COMPRESSION",  # of ops/backup.sh
}  # fmt: skip


@pytest.fixture(params=SERVICES)
def unit(request: pytest.FixtureRequest) -> Unit:
    """Each service."""
    return load(request.param, UNITS)


def test_every_variable_of_a_unit_is_a_setting(unit: Unit) -> None:
    assert set(unit.environment()) <= set(KNOWN) | OF_OTHERS


def test_every_line_of_the_example_is_a_setting_and_none_of_them_a_secret() -> None:
    example = environment_file(ECS / "todo.env.example")
    assert set(example) <= set(KNOWN) | OF_OTHERS
    assert not {name for name in example if name.endswith(("_PASSWORD", "TOKEN_KEYS"))}
    assert "password" not in example["DATABASE_URL"]


def test_the_example_is_accepted_as_soon_as_there_is_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_file(ECS / "todo.env.example").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKEN_KEYS", f"2026-11:{'0' * 64}")
    assert Settings.load().runtime.environment == "production"


def test_a_service_runs_as_its_own_user_from_the_release_that_is_current(unit: Unit) -> None:
    assert (unit.one("Service", "User"), unit.one("Service", "Group")) == ("todo", "todo")
    assert unit.one("Service", "WorkingDirectory") == "/opt/todo/current"
    command = shlex.split(unit.one("Service", "ExecStart"))
    assert command[0].startswith("/opt/todo/current/")
    for word in command:
        if word.startswith("/opt/todo/current/deploy/ecs/"):
            assert (ECS / word.removeprefix("/opt/todo/current/deploy/ecs/")).is_file()


def test_a_service_writes_only_where_systemd_lets_it(unit: Unit) -> None:
    assert unit.one("Service", "ProtectSystem") == "strict"
    own = [f"/run/{name}" for name in unit.words("Service", "RuntimeDirectory")]
    own += [f"/var/lib/{name}" for name in unit.words("Service", "StateDirectory")]
    written = [value for name, value in unit.environment().items() if name.endswith("_DIR")]
    written += re.findall(r"--worker-tmp-dir (\S+)", unit.one("Service", "ExecStart"))
    assert written
    for path in written:
        assert any(path == folder or path.startswith(f"{folder}/") for folder in own), path


def test_a_service_is_given_longer_to_stop_than_it_takes() -> None:
    stop = {name: int(load(name, UNITS).one("Service", "TimeoutStopSec")) for name in SERVICES[:3]}
    (graceful,) = re.findall(r"--graceful-timeout (\d+)", load("todo-api.service", UNITS).one("Service", "ExecStart"))
    assert stop["todo-api.service"] > int(graceful)
    # What runtime.stop allows beyond the grace.
    assert stop["todo-worker.service"] > KNOWN["WORKER_GRACE_SECONDS"]().grace_seconds + 5  # type: ignore[attr-defined]


def test_gunicorn_takes_its_socket_from_systemd_and_believes_who_comes_in_there() -> None:
    api, socket = load("todo-api.service", UNITS), load("todo-api.socket", UNITS)
    command = shlex.split(api.one("Service", "ExecStart"))
    assert "--bind" not in command
    assert api.one("Unit", "Requires") == "todo-api.socket"
    assert command[command.index("--forwarded-allow-ips") + 1] == "*"
    # That is safe only as long as nobody but nginx can connect.
    assert (socket.one("Socket", "SocketMode"), socket.one("Socket", "SocketGroup")) == ("0660", "www-data")
    site = (ECS / "nginx" / "todo.conf.template").read_text(encoding="utf-8")
    assert f"server unix:{socket.one('Socket', 'ListenStream')};" in site


def test_settings_that_are_refused_are_not_tried_again() -> None:
    api = load("todo-api.service", UNITS)
    assert (api.one("Service", "Restart"), api.one("Service", "RestartPreventExitStatus")) == ("always", "3")


def test_each_service_has_metrics_of_its_own() -> None:
    example = environment_file(ECS / "todo.env.example")
    assert example["API_METRICS_PORT"] != example["WORKER_METRICS_PORT"]
    assert load("todo-beat.service", UNITS).words("Service", "UnsetEnvironment") == ["WORKER_METRICS_PORT"]


def test_no_variable_of_a_unit_is_overruled_by_the_settings_file(unit: Unit) -> None:
    # systemd lets EnvironmentFile= win over Environment=.
    assert not unit.environment().keys() & environment_file(ECS / "todo.env.example").keys()
