"""The road with containers: what cloud-init does on a fresh Debian 12, up to starting the stack."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from tests.deploy.host import ROOT, Host

CLOUD_INIT = ROOT / "deploy" / "ecs" / "cloud-init.yaml"
FILLED = {
    "<v1.2.3>": "main",
    "<1.2.3>": "1.2.3",
    "<registry>-<region>.cr.volces.com/<namespace>/": "registry.example/todo/",
    "<todo.example.com>": "todo.example.com",
    "<operator@example.com>": "operator@example.com",
}

pytestmark = pytest.mark.timeout(600)


def filled_in() -> str:
    """The settings that cloud-init writes, as somebody has filled them in."""
    document = yaml.safe_load(CLOUD_INIT.read_text(encoding="utf-8"))
    (file,) = document["write_files"]
    text: str = file["content"]
    for blank, value in FILLED.items():
        text = text.replace(blank, value)
    return text


def test_a_fresh_host_comes_as_far_as_starting_the_stack(bare: Host, tmp_path: Path) -> None:
    document = yaml.safe_load(CLOUD_INIT.read_text(encoding="utf-8"))
    bare.install_packages("cloud-init", "systemd", *document["packages"])
    bare.take(".", to="/opt/todo")
    assert "Valid cloud-config" in bare.run("cloud-init schema --config-file /opt/todo/deploy/ecs/cloud-init.yaml")

    # systemd does not run here; what it is asked for is noted, and the unit is checked with all that it needs present.
    bare.run("cd /usr/local/bin && printf '#!/bin/sh\\necho \"$@\" >>/tmp/asked\\n' >systemctl && chmod +x systemctl")
    settings = shlex.quote(filled_in())
    bare.run(f"mkdir -p /etc/todo && printf %s {settings} >/etc/todo/containers.env")
    assert bare.status("docker compose version")[0] != 0
    said = bare.run("/opt/todo/deploy/ecs/containers.sh", seconds=180)
    assert "Debian 13's package docker-compose" in said
    assert bare.run("docker compose version --short").strip().startswith("2.")
    assert bare.run("cat /tmp/asked").splitlines() == ["daemon-reload", "enable --now todo-compose.service"]
    assert bare.run("/usr/bin/systemd-analyze verify todo-compose.service") == ""
    # The set that the unit would bring up is one that Compose understands.
    services = bare.run("cd /opt/todo && docker compose config --services").split()
    assert {"api", "worker", "beat", "nginx", "db", "redis", "acme", "backup"} <= set(services)
    assert bare.run("stat --format '%a %n' /opt/todo/.env /opt/todo/secrets").split() == [
        "600", "/opt/todo/.env", "700", "/opt/todo/secrets"
    ]  # fmt: skip

    before = bare.run("sha256sum /opt/todo/.env /opt/todo/secrets/*")
    assert "Compose v2 is there" in bare.run("/opt/todo/deploy/ecs/containers.sh")
    assert bare.run("sha256sum /opt/todo/.env /opt/todo/secrets/*") == before


def test_a_compose_plugin_that_is_not_what_was_written_down_is_thrown_away(bare: Host) -> None:
    bare.install_packages("curl")
    bare.take("deploy", to="/opt/todo")
    bare.run("echo another >/tmp/plugin")
    status, said = bare.status(
        ". /opt/todo/deploy/ecs/containers.sh && PLUGINS=/tmp/plugins"
        f" COMPOSE_PLUGIN_URL=file:///tmp/plugin COMPOSE_PLUGIN_SHA256={'0' * 64} install_compose"
    )
    assert (status, "is not what COMPOSE_PLUGIN_SHA256 says" in said) == (1, True)
    assert bare.run("ls /tmp/plugins") == ""
