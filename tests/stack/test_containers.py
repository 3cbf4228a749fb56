"""The containers as Docker sees them: what they may do, what they may reach, and what is in their images."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stack.stack import PRODUCT, REVISION, SOURCE, Stack, run

pytestmark = pytest.mark.timeout(60)
OURS = ("api", "worker", "beat")
NEEDED_BY = {
    ("db", 5432): {"api", "worker", "beat", "redis"},
    ("redis", 6379): {"api", "worker", "beat", "db"},
    ("nginx", 8443): {"api"},
}
"""The services that can connect to each port. PostgreSQL and Redis share the network `data`, which is internal."""


@pytest.mark.parametrize("service", PRODUCT)
async def test_a_container_can_do_no_more_than_its_work(stack: Stack, service: str) -> None:
    container = await stack.container(service)
    host, config = container["HostConfig"], container["Config"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["Privileged"] is False
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert host["Init"] is True
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
    uid, gid = config["User"].split(":")
    assert uid.isdecimal(), "Kubernetes cannot tell whether a name is root"
    assert gid.isdecimal()
    assert int(uid) >= (10_000 if service in OURS else 1)
    assert config["Healthcheck"]["Test"][0] == "CMD", "exec form, no shell"
    bound = [mount for mount in container["Mounts"] if mount["Type"] == "bind"]
    assert all(not mount["RW"] for mount in bound)
    assert not any("docker.sock" in mount["Source"] for mount in bound)


@pytest.mark.parametrize("service", PRODUCT)
async def test_its_processes_are_what_docker_says_they_are(stack: Stack, service: str) -> None:
    """The kernel shows the processes without capabilities and as an unprivileged user."""
    container = await stack.container(service)
    shown = await run("docker", "top", container["Id"], "-eo", "pid,uid")
    pids = [line.split() for line in shown.splitlines()[1:]]
    assert pids
    assert {uid for _, uid in pids} == {container["Config"]["User"].split(":")[0]}
    status = await stack.inside(service, "cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(facts["CapEff"], 16) == 0
    assert int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"


async def test_only_nginx_publishes_ports_and_only_on_this_machine(stack: Stack) -> None:
    for service in PRODUCT:
        ports = (await stack.container(service))["NetworkSettings"]["Ports"]
        published = {port: bindings for port, bindings in ports.items() if bindings}
        if service != "nginx":
            assert not published, service
            continue
        assert {port: [binding["HostPort"] for binding in bindings] for port, bindings in published.items()} == {
            "8080/tcp": [str(stack.http_port)],
            "8443/tcp": [str(stack.https_port)],
            "8443/udp": [str(stack.https_port)],
        }
        assert {binding["HostIp"] for bindings in published.values() for binding in bindings} == {"127.0.0.1"}


@pytest.mark.parametrize(("target", "port"), NEEDED_BY)
async def test_only_those_who_need_it_have_a_way_to(stack: Stack, target: str, port: int) -> None:
    """The test connects by address, because an unknown name alone does not isolate."""
    addresses = await _addresses(stack, target)
    found = {
        service
        for service in PRODUCT
        if service != target and [address for address in addresses if await _reaches(stack, service, address, port)]
    }
    assert found == NEEDED_BY[target, port]


async def _addresses(stack: Stack, service: str) -> list[str]:
    networks: dict[str, dict[str, Any]] = (await stack.container(service))["NetworkSettings"]["Networks"]
    return [network["IPAddress"] for network in networks.values()]


async def _reaches(stack: Stack, service: str, address: str, port: int) -> bool:
    knock = f"timeout 1 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo yes || echo no"
    return (await stack.inside(service, "bash", "-c", knock)).strip() == "yes"


async def test_the_api_and_the_database_have_no_way_out(stack: Stack) -> None:
    networks = json.loads(
        await run("docker", "network", "inspect", *(f"{stack.project}_{name}" for name in ("app", "data", "egress")))
    )
    internal = {network["Name"].removeprefix(f"{stack.project}_"): network["Internal"] for network in networks}
    assert internal == {"app": True, "data": True, "egress": False}
    for service in ("db", "redis", "api", "beat"):
        names = (await stack.container(service))["NetworkSettings"]["Networks"]
        assert not {name for name in names if name.endswith(("_egress", "_front"))}, service


# ---- Images


async def _in_image(image: str, *command: str) -> str:
    return await run("docker", "run", "--rm", "--network", "none", "--entrypoint", command[0], image, *command[1:])


@pytest.mark.parametrize(
    ("service", "absent", "present"),
    [
        ("api", ["celery", "kombu", "billiard", "todo_worker"], ["fastapi", "uvicorn", "todo_api", "todo_core"]),
        ("worker", ["fastapi", "starlette", "uvicorn", "todo_api"], ["celery", "todo_worker", "todo_core"]),
    ],
)
async def test_an_image_has_its_own_door_alone(
    stack: Stack, service: str, absent: list[str], present: list[str]
) -> None:
    image = (await stack.container(service))["Image"]
    look = "import importlib.util, sys; print(*(n for n in sys.argv[1:] if importlib.util.find_spec(n)))"
    found = (await _in_image(image, "python", "-c", look, *absent, *present)).split()
    assert found == present


@pytest.mark.parametrize("service", ["api", "worker"])
async def test_an_image_holds_nothing_of_its_build(stack: Stack, service: str) -> None:
    image = (await stack.container(service))["Image"]
    folders = "ls -d /src /wheels /tools /requirements /code /root/.cache /root/.config 2>/dev/null"
    tools = "ls /app/bin | grep -E '^(pip|uvx?|hatchling)[0-9.]*$'; command -v uv hatchling gcc make git"
    assert await _in_image(image, "bash", "-c", f"{folders}; {tools}; true") == ""
    files = "ls /app/lib/python3.13/site-packages | grep -i -E 'editable|^pip$|^setuptools$'; true"
    assert await _in_image(image, "bash", "-c", files) == ""
    changeable = "find /app '(' -not -user root -o -perm /o+w ')' -not -type l -not -empty"
    assert await _in_image(image, "bash", "-c", changeable) == "", "nobody who runs there can change what runs there"


@pytest.mark.parametrize("service", ["api", "worker"])
async def test_an_image_says_what_it_was_made_from(stack: Stack, service: str) -> None:
    (image,) = json.loads(await run("docker", "image", "inspect", (await stack.container(service))["Image"]))
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.source"] == SOURCE
    assert labels["org.opencontainers.image.revision"] == REVISION
    assert labels["org.opencontainers.image.version"] == stack.project
    assert image["Config"]["User"] == "10001:10001"
    assert isinstance(image["Config"]["Cmd"], list)
    assert image["Config"]["Cmd"][0] != "/bin/sh"
