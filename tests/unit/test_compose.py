"""The variables that Compose passes to our processes: every setting in .env.example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from todo_core.settings import ExporterSettings, Settings, variable_name

COMPOSE = Path(__file__).resolve().parents[2] / "compose.yaml"
NAMES = {variable_name(concern, field) for concern in Settings.CONCERNS for field in concern.model_fields}
EXPORTER = {variable_name(ExporterSettings, field) for field in ExporterSettings.model_fields}
KNOWS_NO_SECRET = {"exporter"}
"""The services that get only the settings that they need."""

FIXED = {
    "API_METRICS_PORT": "Prometheus asks there",
    "API_METRICS_HOST": "Prometheus asks from another container",
    "API_METRICS_DIR": "on a read-only root, /tmp alone can be written to",
    "WORKER_METRICS_PORT": "Prometheus asks there",
    "WORKER_METRICS_HOST": "Prometheus asks from another container",
    "WORKER_STATE_DIR": "on a read-only root, /tmp alone can be written to",
    "EXPORTER_METRICS_PORT": "Prometheus asks there",
    "EXPORTER_METRICS_HOST": "Prometheus asks from another container",
    "EXPORTER_TLS_ADDRESS": "nginx is where it is",
}
"""The settings that .env cannot change, with the reason."""

OTHER_DEFAULTS = {
    "ENVIRONMENT": "development",
    "LOG_LEVEL": "INFO",
    "PUBLIC_URL": "https://localhost:${HTTPS_PORT:-8443}",
    "DATABASE_URL": "postgresql://todo@db:5432/todo",
    "DATABASE_PASSWORD": "todo",
    "REDIS_URL": "redis://redis:6379/0",
}
"""The values that are passed on without a value in .env, unless empty."""


def services() -> dict[str, dict[str, Any]]:
    """The services that run our code and read settings."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return {name: service for name, service in found.items() if "LOG_LEVEL" in service.get("environment", {})}


@pytest.mark.parametrize("name", sorted(services().keys() - KNOWS_NO_SECRET))
def test_every_setting_in_env_reaches_each_container_that_may_read_it(name: str) -> None:
    environment = services()[name]["environment"]
    expected = {key: f"${{{key}:-{OTHER_DEFAULTS.get(key, '')}}}" for key in NAMES - EXPORTER - FIXED.keys()}
    assert {key: environment.get(key) for key in expected} == expected


def test_the_exporters_settings_in_env_reach_it() -> None:
    environment = services()["exporter"]["environment"]
    assert {key for key in EXPORTER if re.match(rf"\$\{{{key}:?-", environment.get(key, ""))} == EXPORTER - FIXED.keys()


def test_what_env_cannot_change_is_a_setting_and_no_variable() -> None:
    assert FIXED.keys() - NAMES == set()
    for service in services().values():
        assert [key for key in FIXED if "$" in service["environment"].get(key, "")] == []


@pytest.mark.parametrize("name", sorted(services()))
def test_nothing_is_handed_on_that_is_no_setting(name: str) -> None:
    assert services()[name]["environment"].keys() - NAMES - {"FORWARDED_ALLOW_IPS"} == set()


def test_how_much_redis_may_keep_can_be_said_in_env() -> None:
    redis = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["redis"]
    assert "\nmaxmemory ${REDIS_MAXMEMORY:-128mb}\n" in redis["command"][-1]
    assert redis["mem_limit"] == "${REDIS_MEMORY:-256m}"


def test_a_worker_that_is_given_longer_to_finish_can_be_given_longer_to_stop() -> None:
    assert services()["worker"]["stop_grace_period"] == "${WORKER_STOP_GRACE:-40s}"
