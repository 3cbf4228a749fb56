"""The host that the tests of this ring share: installed as deploy/ecs/README.md says. They need a Docker engine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.host import HERE, IMAGE, ROOT, Host, HostError, docker

TOLD = "-e domain=localhost -e with_postgresql=yes -e with_redis=yes"


@pytest.fixture(scope="session")
def engine() -> None:
    """There is a Docker engine, and a bare Debian 12 in it."""
    try:
        docker("build", "--quiet", "--tag", IMAGE, str(HERE))
    except (HostError, OSError) as error:
        pytest.exit(f"The tests of ECS hosts need a Docker engine: {error}", returncode=1)


@pytest.fixture
def bare(engine: None, tmp_path: Path) -> Iterator[Host]:
    """A host on which nothing was done yet."""
    host = Host(tmp_path)
    try:
        host.start()
        yield host
    finally:
        host.remove()


@pytest.fixture(scope="session")
def installed(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with PostgreSQL, Redis and this commit on it, all of it at work."""
    host = Host(tmp_path_factory.mktemp("host"))
    try:
        host.start()
        # The load comes from one address.
        status, said = host.make(
            "ecs-deploy", TOLD, """-e '{"nginx": {"NGINX_REQUESTS_PER_SECOND": 500}}'""", CONFIRM="yes"
        )
        assert status == 0, said
        yield host
    finally:
        host.remove()


@pytest.fixture(scope="session")
def authority(installed: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate that the host starts with."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    path.write_text(installed.run("cat /etc/todo/tls/fullchain.pem"), encoding="utf-8")
    return path


@pytest.fixture
def next_release(tmp_path: Path) -> Callable[..., Path]:
    """A clone of the repository with one commit more."""

    def make(**edits: str) -> Path:
        tree = tmp_path / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        git = ("git", "-c", "user.name=T", "-c", "user.email=t@example.com", "-C", str(tree))
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(tree)], check=True, timeout=60)
        for path, edit in {"ops/NEXT": "", **edits}.items():
            (tree / path).touch()
            before = (tree / path).read_text(encoding="utf-8")
            subprocess.run(["sed", "-i", "-e", edit, str(tree / path)], check=True, timeout=10)
            assert not edit or (tree / path).read_text(encoding="utf-8") != before
        subprocess.run([*git, "add", "--all"], check=True, timeout=10)
        subprocess.run([*git, "commit", "--quiet", "--message", "The next release"], check=True, timeout=10)
        return tree

    return make
