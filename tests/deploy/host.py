"""A bare Debian 12 in a container, with the files of this repository in it."""

from __future__ import annotations

import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "debian:bookworm"
HERE = Path(__file__).resolve().parent


class HostError(AssertionError):
    """A command on the host ended otherwise than it should; the text has what it printed."""


@dataclass
class Host:
    """One container. Every command has a time limit, so that nothing hangs a test run."""

    name: str = field(default_factory=lambda: f"todo-ecs-{uuid.uuid4().hex[:8]}")

    def start(self) -> None:
        """Start it: a root file system, and a process that waits."""
        _docker("run", "--detach", "--name", self.name, "--publish", "127.0.0.1::443", "--publish", "127.0.0.1::80",
                IMAGE, "sleep", "3600")  # fmt: skip

    def remove(self) -> None:
        """Remove it with all that is in it."""
        _docker("rm", "--force", "--volumes", self.name)

    def port(self, port: int) -> int:
        """Where this machine reaches a port of the host's."""
        return int(_docker("port", self.name, f"{port}/tcp").strip().splitlines()[0].rpartition(":")[2])

    def status(self, command: str, *, seconds: float = 60, **environment: str) -> tuple[int, str]:
        """Run it in bash, as root: its exit status, and all that it printed."""
        settings = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        done = subprocess.run(
            ["docker", "exec", *settings, self.name, "timeout", str(seconds), "bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds + 30,
        )
        return done.returncode, done.stdout

    def run(self, command: str, *, seconds: float = 60, **environment: str) -> str:
        """The same, for what must go well; what it printed."""
        status, output = self.status(command, seconds=seconds, **environment)
        if status:
            raise HostError(f"{command}\nended with {status} on {self.name}:\n{output}")
        return output

    def detach(self, command: str) -> None:
        """Start what stays."""
        _docker("exec", "--detach", self.name, "bash", "-c", command)

    def install_packages(self, *packages: str) -> None:
        """From Debian, as a host has them already."""
        self.run(
            "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
            f" {' '.join(packages)}",
            seconds=240,
        )

    def take(self, *paths: str, to: str) -> None:
        """Unpack the repository's files below these paths, as they are in the working tree."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--", *paths], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        files = [name for name in listed.split("\0") if name and (ROOT / name).exists()]
        with subprocess.Popen(["tar", "--create", *files], cwd=ROOT, stdout=subprocess.PIPE) as archive:
            subprocess.run(
                ["docker", "exec", "--interactive", self.name, "bash", "-c", f"mkdir -p {to} && tar -x -C {to}"],
                stdin=archive.stdout,
                check=True,
                timeout=60,
            )

    def start_manager(self) -> None:
        """Let manager.py be this host's systemd from here on."""
        self.run("mkdir -p /opt/stand-in")
        for name in ("manager.py", "units.py"):
            _docker("cp", str(HERE / name), f"{self.name}:/opt/stand-in/{name}")
        self.run("ln -s /opt/stand-in/manager.py /usr/local/bin/systemctl")
        self.detach("exec python3 /opt/stand-in/manager.py serve >/var/log/manager.log 2>&1")
        self.run("for _ in $(seq 100); do [ ! -S /run/manager.sock ] || exit 0; sleep 0.1; done; exit 1")


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise HostError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
