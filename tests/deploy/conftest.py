"""The host that the tests of this ring share: installed as deploy/ecs/README.md says. They need a Docker engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.host import IMAGE, Host, HostError, _docker

INSTALL = "/src/deploy/ecs/install.sh"
SOURCES = ("deploy", "nginx", "ops", "requirements", "services")


@pytest.fixture(scope="session")
def engine() -> None:
    """There is a Docker engine, and a bare Debian 12 in it."""
    try:
        _docker("image", "inspect", IMAGE)
    except (HostError, OSError) as error:
        pytest.exit(f"The tests of ECS hosts need a Docker engine with the image {IMAGE}: {error}", returncode=1)


@pytest.fixture
def bare(engine: None) -> Iterator[Host]:
    """A host on which nothing was done yet."""
    host = Host()
    host.start()
    try:
        yield host
    finally:
        host.remove()


@pytest.fixture(scope="session")
def installed(engine: None) -> Iterator[Host]:
    """A host with PostgreSQL, Redis and the release `first` on it, all of it at work."""
    host = Host()
    host.start()
    try:
        # What a host has and a container has not; and what manager.py filters system calls with.
        host.install_packages("systemd", "python3-seccomp")
        host.take(*SOURCES, to="/src")
        said = host.run(
            f"{INSTALL} --domain localhost --with-postgresql --with-redis --release first",
            seconds=400,
            # The load comes from one address.
            NGINX_REQUESTS_PER_SECOND="500",
        )
        (command,) = re.findall(r"nothing is started\. Where it does: (systemctl start .*)", said)
        assert host.status("pgrep -x gunicorn || ls /run/todo/api.sock")[0] != 0
        host.start_manager()
        host.run(command, seconds=90)
        yield host
    finally:
        host.remove()


@pytest.fixture(scope="session")
def authority(installed: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority of the certificate that the host starts with."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    path.write_text(installed.run("cat /etc/todo/tls/bootstrap/ca.pem"), encoding="utf-8")
    return path
