"""The units of ECS hosts: what they set is known to the settings, and they fit each other and what runs in them.

What systemd makes of them is tested under systemd itself (tests/deploy).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from todo_core.settings import Settings, variable_name

ECS = Path(__file__).resolve().parent.parent.parent / "deploy" / "ecs"
SERVICES = ("todo-api", "todo-worker", "todo-beat", "todo-backup")
KNOWN = {variable_name(concern, name): concern for concern in Settings.CONCERNS for name in concern.model_fields}
OF_OTHERS = {
    "WEB_CONCURRENCY",  # Gunicorn's
    "PGHOST", "BACKUP_DIR", "BACKUP_COMPRESSION",  # of ops/backup.sh
}  # fmt: skip
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ECS / "todo.env.j2").read_text(encoding="utf-8"), re.MULTILINE))


def unit(name: str) -> str:
    """The text of a unit."""
    return (ECS / "systemd" / name).read_text(encoding="utf-8")


def variables(name: str) -> set[str]:
    """The variables that a service sets itself."""
    return set(re.findall(r"^Environment=(\w+)=", unit(f"{name}.service"), re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_of_a_unit_is_a_setting_and_none_is_overruled_by_the_settings_file(service: str) -> None:
    assert variables(service) <= set(KNOWN) | OF_OTHERS
    # systemd lets EnvironmentFile= win over Environment=.
    assert not variables(service) & set(EXAMPLE)


def test_every_line_of_the_example_is_a_setting_and_none_of_them_a_secret() -> None:
    assert set(EXAMPLE) <= set(KNOWN) | OF_OTHERS
    assert not {name for name in EXAMPLE if name.endswith(("_PASSWORD", "TOKEN_KEYS"))}
    assert "password" not in EXAMPLE["DATABASE_URL"]


def test_a_service_is_given_longer_to_stop_than_it_takes() -> None:
    stop = {
        name: int(re.findall(r"^TimeoutStopSec=(\d+)$", unit(f"{name}.service"), re.MULTILINE)[0])
        for name in SERVICES[:3]
    }
    (graceful,) = re.findall(r"--graceful-timeout (\d+)", unit("todo-api.service"))
    assert stop["todo-api"] > int(graceful)
    # What runtime.stop allows beyond the grace.
    assert stop["todo-worker"] > KNOWN["WORKER_GRACE_SECONDS"]().grace_seconds + 5  # type: ignore[attr-defined]


def test_only_nginx_can_connect_to_an_api_that_believes_whoever_does() -> None:
    assert '--forwarded-allow-ips "*"' in unit("todo-api.service")
    assert "--bind" not in unit("todo-api.service").replace("# No --bind", "")
    assert "\nSocketGroup=www-data\nSocketMode=0660\n" in unit("todo-api.socket")


def test_each_service_has_metrics_of_its_own() -> None:
    assert EXAMPLE["API_METRICS_PORT"] != EXAMPLE["WORKER_METRICS_PORT"]
    assert "UnsetEnvironment=WORKER_METRICS_PORT\n" in unit("todo-beat.service")
