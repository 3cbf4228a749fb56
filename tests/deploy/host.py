"""A bare Debian 12 in a container, with systemd as its first process, as a cloud gives it."""

from __future__ import annotations

import os
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
IMAGE = "todo-ecs-host"
UNCONFINED = ("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined")
SYSTEMD = (
    *("--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", *UNCONFINED),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--env", "container=docker"),
)
"""What systemd needs as PID 1: no capability. It puts services into user namespaces (PrivateUsers=yes), in which it can
give them mount namespaces too; Docker's own system call filter would forbid both."""


class HostError(AssertionError):
    """A command on the host ended otherwise than it should; the text has what it printed."""


@dataclass
class Host:
    """One container. Every command has a time limit, so that nothing hangs a test run."""

    keys: Path
    name: str = field(default_factory=lambda: f"todo-ecs-{uuid.uuid4().hex[:8]}")

    def start(self) -> None:
        """Start it, and wait until systemd has, with an SSH server that knows our key."""
        ports = [word for port in (22, 80, 443) for word in ("--publish", f"127.0.0.1::{port}")]
        docker("run", "--detach", "--name", self.name, *SYSTEMD, *ports, IMAGE)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.keys / "key"], check=True, timeout=30)
        self.run("for _ in $(seq 60); do systemctl is-active --quiet ssh && exit; sleep 0.5; done; exit 1")
        self.run(f"mkdir -p /root/.ssh && echo '{(self.keys / 'key.pub').read_text()}' >/root/.ssh/authorized_keys")

    def remove(self) -> None:
        """Remove it with all that is in it."""
        docker("rm", "--force", "--volumes", self.name)

    def port(self, port: int) -> int:
        """Where this machine reaches a port of the host's."""
        return int(docker("port", self.name, f"{port}/tcp").strip().splitlines()[0].rpartition(":")[2])

    def status(self, command: str, *, seconds: float = 60) -> tuple[int, str]:
        """Run it in bash, as root: its exit status, and all that it printed."""
        return _run(["docker", "exec", self.name, "timeout", str(seconds), "bash", "-c", command], seconds=seconds + 30)

    def run(self, command: str, *, seconds: float = 60) -> str:
        """The same, for what must go well; what it printed."""
        status, output = self.status(command, seconds=seconds)
        if status:
            raise HostError(f"{command}\nended with {status} on {self.name}:\n{output}")
        return output

    def install_packages(self, *packages: str) -> None:
        """From Debian, as a host has them already."""
        apt = "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
        self.run(f"apt-get update -qq && {apt} {' '.join(packages)}", seconds=240)

    def take(self, *paths: str, to: str) -> None:
        """Unpack the commit's files below these paths."""
        archive = subprocess.run(
            ["git", "archive", "HEAD", *paths], cwd=ROOT, check=True, capture_output=True, timeout=60
        )
        command = ["docker", "exec", "--interactive", self.name, "bash", "-c", f"mkdir -p {to} && tar -x -C {to}"]
        subprocess.run(command, input=archive.stdout, check=True, timeout=60)

    def make(self, target: str, *options: str, tree: Path = ROOT, **variables: str) -> tuple[int, str]:
        """Run `make ecs-deploy` or `make ecs-rollback` for this host: its exit status, and all that it printed."""
        ssh = f"-i {self.keys}/key -o UserKnownHostsFile={self.keys}/known_hosts -o StrictHostKeyChecking=accept-new"
        arguments = " ".join((f"-e ansible_port={self.port(22)} '--ssh-common-args={ssh}'", *options))
        command = ["make", "--old-file=.venv-ecs/.ready", target, "HOST=root@127.0.0.1", f"ARGS={arguments}"]
        command += [f"{name}={value}" for name, value in variables.items()]
        return _run(command, seconds=420, cwd=tree, ANSIBLE=str(ROOT / ".venv-ecs" / "bin"))


def docker(*arguments: str) -> str:
    """Run the docker command; what it printed."""
    status, output = _run(["docker", *arguments], seconds=300)
    if status:
        raise HostError(f"docker {' '.join(arguments)}: {output}")
    return output


def _run(command: list[str], *, seconds: float, cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    return done.returncode, done.stdout
