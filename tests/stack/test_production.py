"""compose.prod.yaml as Compose reads it: what production must have and must not have. Needs no Docker engine."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.stack.production import FILES, OPTIONAL_SECRETS, config
from tests.stack.stack import ROOT, CommandFailed

EXAMPLE = ROOT / ".env.production.example"
PLAIN = {name: f"plain-{name.lower()}" for name in ("DATABASE_PASSWORD", "REDIS_PASSWORD", "EMAIL_PASSWORD")}
PLAIN["TOKEN_KEYS"] = "k:plain-token-keys"
ONE_SHOTS = {"migrate", "backup-folder"}


def environment(**variables: str) -> dict[str, str]:
    """Return an environment with the variables for Docker only, and no .env."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "COMPOSE_ENV_FILES": os.devnull,
        "COMPOSE_PROJECT_NAME": "todo-production",
        "COMPOSE_PROFILES": "*",
        **variables,
    }


def host(**variables: str) -> dict[str, str]:
    """Return the variables that a host must set."""
    return environment(PUBLIC_URL="https://todo.example.com", TAG="2026.11", **variables)


async def services(**variables: str) -> dict[str, Any]:
    """Return the services by name."""
    return dict((await config(host(**variables), *FILES))["services"])


async def test_production_builds_nothing_and_has_no_development_certificate_and_no_mail_catcher() -> None:
    found = await services()
    assert not [name for name, service in found.items() if "build" in service]
    assert not {"certificate", "mail"} & found.keys()
    assert "certificate" not in found["nginx"]["depends_on"]


async def test_no_secret_comes_by_the_environment_even_if_one_is_set_there() -> None:
    text = str(await config(host(**PLAIN), *FILES))
    assert [name for name, secret in PLAIN.items() if secret in text] == []


async def test_every_process_of_ours_gets_every_secret_as_a_file_and_the_databases_their_own() -> None:
    found = await services()
    mounted = {name: {secret["source"] for secret in found[name].get("secrets", [])} for name in found}
    every = {"database_password", "redis_password", "token_keys", *OPTIONAL_SECRETS}
    assert all(mounted[name] == every for name in ("api", "worker", "beat", "migrate"))
    assert mounted["db"] == {"database_password"}
    assert mounted["redis"] == {"redis_password"}
    assert mounted["postgres-exporter"] == {"postgres_exporter_password", "database_ca"}
    assert mounted["redis-exporter"] == {"redis_exporter_passwords", "redis_ca"}
    assert (
        not mounted["nginx"] | mounted["acme"] | mounted["exporter"] | mounted["prometheus"] | mounted["alertmanager"]
    )


async def test_nginx_alone_is_published_to_people_on_the_ports_that_they_know() -> None:
    found = await services()
    ports = {
        name: sorted((port["host_ip"], port["published"], port["protocol"]) for port in service["ports"])
        for name, service in found.items()
        if "ports" in service
    }
    assert ports == {
        "nginx": [("0.0.0.0", "443", "tcp"), ("0.0.0.0", "443", "udp"), ("0.0.0.0", "80", "tcp")],
        "prometheus": [("127.0.0.1", "9090", "tcp")],  # these ask for no password
        "alertmanager": [("127.0.0.1", "9093", "tcp")],
    }
    assert found["nginx"]["environment"]["NGINX_HSTS_SECONDS"] == "63072000"


async def test_every_container_is_hardened() -> None:
    for name, service in (await services()).items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["cpus"], name
        assert name in ONE_SHOTS or re.match(r"[1-9]", service["user"]), name


async def test_a_managed_database_and_redis_need_none_here_and_whoever_uses_them_has_a_way_out() -> None:
    found = await services(COMPOSE_PROFILES="acme")
    assert not {"db", "redis"} & found.keys()
    for name in ("api", "worker", "beat", "migrate"):
        assert "egress" in found[name]["networks"], name
    monitored = await services(COMPOSE_PROFILES="monitoring")
    assert "egress" in monitored["postgres-exporter"]["networks"]
    assert "egress" in monitored["redis-exporter"]["networks"]


async def test_images_come_by_tag_or_digest_from_the_registry_that_is_named() -> None:
    digest = f"sha256:{'0' * 64}"
    found = await services(REGISTRY="registry.example/todo/", API_DIGEST=digest, API_REPLICAS="3")
    assert found["worker"]["image"] == "registry.example/todo/todo-worker:2026.11"
    assert found["api"]["image"] == found["migrate"]["image"] == f"registry.example/todo/todo-api:2026.11@{digest}"
    assert found["api"]["scale"] == 3


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PUBLIC_URL": "https://todo.example.com"}, "Set TAG to the version to run"),
        ({"TAG": "2026.11"}, "Set PUBLIC_URL to where people reach the API"),
    ],
)
async def test_what_must_be_set_is_asked_for_in_a_sentence(variables: dict[str, str], said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        await config(environment(**variables), *FILES)


async def test_the_example_of_a_hosts_settings_is_one_that_compose_takes() -> None:
    shown = EXAMPLE.read_text(encoding="utf-8")
    known = "".join((ROOT / name).read_text(encoding="utf-8") for name in FILES)
    names = re.findall(r"^#?([A-Z_]+)=", shown, re.MULTILINE)
    assert [name for name in names if f"${{{name}" not in known and not name.startswith("COMPOSE_")] == []
    env = environment(COMPOSE_ENV_FILES=str(EXAMPLE))
    del env["COMPOSE_PROFILES"]
    found = (await config(env))["services"]
    assert {"api", "worker", "beat", "nginx", "db", "redis", "acme", "backup"} <= found.keys()
    assert found["api"]["environment"]["ENVIRONMENT"] == "production"
