"""The road with containers: what cloud-init does on a fresh Debian 12, up to starting the stack."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from tests.deploy.host import ROOT, Host

CLOUD_INIT = ROOT / "deploy" / "ecs" / "cloud-init.yaml"
README = ROOT / "deploy" / "ecs" / "README.md"
REPOSITORY = "/srv/todo"
FILLED = {
    "<https://git.example.com/todo.git>": f"file://{REPOSITORY}",
    "<v1.2.3>": "v1.2.3",
    "<1.2.3>": "1.2.3",
    "<registry>-<region>.cr.volces.com/<namespace>/": "registry.example/todo/",
    "#REGISTRY_USER=<user>": "REGISTRY_USER=puller",
    "<todo.example.com>": "todo.example.com",
    "<operator@example.com>": "operator@example.com",
}
PASSWORD_FILE = "/etc/todo/registry_password"
SIGN_IN = r"""#!/bin/sh
[ "$1" = login ] || exec /usr/bin/docker "$@"
echo "$* $(cat)" >>/tmp/signed-in
"""
"""The registry's door only: there is no Docker daemon here."""

pytestmark = pytest.mark.timeout(600)


def filled_in() -> str:
    """The settings that cloud-init writes, as somebody has filled them in."""
    document = yaml.safe_load(CLOUD_INIT.read_text(encoding="utf-8"))
    (file,) = document["write_files"]
    text: str = file["content"]
    for blank, value in FILLED.items():
        assert blank in text
        text = text.replace(blank, value)
    return text


def release(host: Host, version: str) -> None:
    """A commit with a tag, in the repository that the host clones."""
    host.run(
        f"cd {REPOSITORY} && git init --quiet --initial-branch main . && echo {version} >RELEASED && git add --all &&"
        f" git -c user.name=T -c user.email=t@example.com commit --quiet --message {version} && git tag v{version}"
    )


def test_a_fresh_host_comes_as_far_as_starting_the_stack(bare: Host) -> None:
    document = yaml.safe_load(CLOUD_INIT.read_text(encoding="utf-8"))
    bare.install_packages("cloud-init", "systemd", *document["packages"])
    bare.take(".", to=REPOSITORY)
    bare.run(f"chown --recursive root:root {REPOSITORY}")
    release(bare, "1.2.3")
    schema = f"cloud-init schema --config-file {REPOSITORY}/deploy/ecs/cloud-init.yaml"
    assert "Valid cloud-config" in bare.run(schema)

    # systemd does not run here; what it is asked for is noted, and the unit is checked with all that it needs present.
    bare.run("cd /usr/local/bin && printf '#!/bin/sh\\necho \"$@\" >>/tmp/asked\\n' >systemctl && chmod +x systemctl")
    bare.run(f"cd /usr/local/bin && printf %s {shlex.quote(SIGN_IN)} >docker && chmod +x docker")
    bare.run(f"mkdir -p /etc/todo && printf %s {shlex.quote(filled_in())} >/etc/todo/containers.env")
    assert bare.status("docker compose version")[0] != 0

    # The first boot. User data cannot hold the registry's password, so it ends there.
    (commands,) = document["runcmd"]
    boot = f"env --ignore-environment PATH=$PATH sh -c {shlex.quote(commands)}"
    status, said = bare.status(boot, seconds=180)
    assert status == 3, said
    assert "Debian 13's package docker-compose" in said
    assert f"Write it into {PASSWORD_FILE}, then run /opt/todo/deploy/ecs/containers.sh again." in said
    assert bare.run("docker compose version --short").strip().startswith("2.")
    assert bare.run("cat /tmp/asked").splitlines() == ["daemon-reload", "enable todo-compose.service"]
    assert bare.run("/usr/bin/systemd-analyze verify todo-compose.service") == ""
    before = bare.run("sha256sum /opt/todo/.env /opt/todo/secrets/*")

    # What the page says to do then.
    (finish,) = (block for block in _blocks() if PASSWORD_FILE in block)
    said = bare.run(f"set -e\n{finish.replace('<password>', 'open sesame')}")
    assert "Compose v2 is there" in said
    assert bare.run(f"stat --format %a {PASSWORD_FILE}").strip() == "600"
    signed_in = "login --username puller --password-stdin registry.example open sesame"
    assert bare.run("cat /tmp/signed-in").strip() == signed_in
    assert bare.run("tail -1 /tmp/asked").strip() == "start todo-compose.service"
    assert bare.run("sha256sum /opt/todo/.env /opt/todo/secrets/*") == before
    # The set that the unit would bring up is one that Compose understands.
    services = bare.run("cd /opt/todo && docker compose config --services").split()
    assert {"api", "worker", "beat", "nginx", "db", "redis", "acme", "backup"} <= set(services)
    assert bare.run("stat --format '%a %n' /opt/todo/.env /opt/todo/secrets").split() == [
        "600", "/opt/todo/.env", "700", "/opt/todo/secrets"
    ]  # fmt: skip

    # The upgrade that the page names, in the clone of a tag, up to what replaces the containers.
    release(bare, "1.2.4")
    (upgrade,) = (block for block in _blocks() if "git fetch" in block and "make deploy" in block)
    bare.run(f"set -e\n{upgrade.replace('<version>', '1.2.4').replace('make deploy', ':')}")
    assert bare.run("cat /opt/todo/RELEASED && grep ^TAG= /opt/todo/.env").split() == ["1.2.4", "TAG=1.2.4"]
    assert bare.run("git -C /opt/todo status --porcelain") == ""


def _blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
