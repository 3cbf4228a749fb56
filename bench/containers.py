"""`make bench-containers`: the size of each image, the cold start and idle memory of each container, and a rebuild.

A stack of its own is started from what is committed, then what profiles put beside it, and all is thrown away
afterwards. What is built is what `git archive HEAD` holds, so that a rebuild can change a line without touching the
checkout.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bench import report
from dev.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
IDLE_SECONDS = 60
CHANGED = "services/core/src/todo_core/clock.py"
MEBIBYTE = 1024 * 1024
PYTHON = "python:3.13-slim-trixie"
"""What our images are built on."""
NEEDS_A_DOMAIN = "acme"
"""It ends at once where there is none that an authority could look up."""


class BenchError(Exception):
    """Something could not be measured."""


def main() -> int:
    """Print the tables; 2 if something could not be measured."""
    try:
        with checkout() as folder, started_stack(folder) as stack:
            print(report.machine_lines(report.machine("17 (container)", ()), ()))
            print(f"\n`docker compose up --wait` on new volumes: {stack.seconds:.1f} s.\n")
            print_containers(stack)
            seconds = stack.up(*beside(stack.everything))
            print(f"`docker compose up --wait` for all that profiles put beside it: {seconds:.1f} s.\n")
            print_containers(stack)
            print(f"{NEEDS_A_DOMAIN} is not among them: it needs a public domain.\n")
            print_images(stack.everything)
            print_rebuild(folder, stack.compose)
    except (BenchError, subprocess.CalledProcessError, OSError) as error:
        print(f"bench-containers: {error}", file=sys.stderr)
        return 2
    return 0


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a command and return what it says; raise with its last words if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[:6])}: {done.stderr.strip()[-400:] or done.stdout.strip()[-400:]}")
    return done.stdout


@contextmanager
def checkout() -> Iterator[Path]:
    """Give a folder with what HEAD holds."""
    with tempfile.TemporaryDirectory(prefix="todo-bench-") as name:
        archive = Path(name) / "head.tar"
        run("git", "archive", "--output", str(archive), "HEAD")
        folder = Path(name) / "todo"
        folder.mkdir()
        run("tar", "--extract", "--file", str(archive), "--directory", str(folder))
        yield folder


@dataclass
class Stack:
    """A running stack: how to speak to it, and what was seen while it started."""

    project: str
    folder: Path
    seconds: float = 0.0
    healthy_at: dict[str, float] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)
    """The containers whose figures were printed."""

    @property
    def compose(self) -> list[str]:
        """Without any profile."""
        return ["docker", "compose", "--file", str(self.folder / "compose.yaml"), "--project-name", self.project]

    @property
    def everything(self) -> list[str]:
        """With all of them."""
        return [*self.compose, "--profile", "*"]

    def up(self, *services: str) -> float:
        """Start these, or what no profile is needed for; return the seconds until all of it is healthy."""
        # Listened to meanwhile: Docker remembers the last 256 events only, and every health check is several.
        listen = ["docker", "events", "--filter", f"label=com.docker.compose.project={self.project}"]
        listen += ["--filter", "event=health_status", "--format", "{{json .}}"]
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as events:
            began = time.monotonic()
            try:
                run(*(self.everything if services else self.compose), "up", "--detach", "--wait", *services)
                seconds = time.monotonic() - began
            finally:
                events.terminate()
            said = [json.loads(line) for line in events.stdout or ()]
        for event in said:
            if event["status"].endswith(": healthy"):
                self.healthy_at.setdefault(event["id"], event["timeNano"] / 1e9)
        return seconds


@contextmanager
def started_stack(folder: Path) -> Iterator[Stack]:
    """Start the stack from images that are built already."""
    ports = ("HTTPS_PORT", "HTTP_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT")
    os.environ |= {"TAG": "bench", **{name: str(free_port()) for name in ports}}
    stack = Stack(f"todo-bench-{os.getpid()}", folder)
    run(*stack.everything, "build")
    try:
        stack.seconds = stack.up()
        yield stack
    finally:
        run(*stack.everything, "down", "--volumes", "--remove-orphans")


def beside(everything: list[str]) -> list[str]:
    """The services that a profile puts beside the stack and that run on any machine; others come as they are needed."""
    services = json.loads(run(*everything, "config", "--format", "json"))["services"]
    return sorted(name for name, service in services.items() if service.get("profiles") and name != NEEDS_A_DOMAIN)


def print_containers(stack: Stack) -> None:
    """Print for each service: from its start to its first good health check or its end, and its memory when idle.

    Those of an earlier call are left out.
    """
    time.sleep(IDLE_SECONDS)
    ids = sorted({*run(*stack.everything, "ps", "--all", "--quiet").split()} - stack.measured)
    running = sorted({*run(*stack.everything, "ps", "--quiet").split()} - stack.measured)
    stack.measured |= {*ids}
    memory = {}
    for line in run("docker", "stats", "--no-stream", "--no-trunc", "--format", "{{json .}}", *running).splitlines():
        stats = json.loads(line)
        memory[stats["ID"]] = stats["MemUsage"].split(" / ")[0]
    print("| container | start to healthy (or done) | memory, idle |\n|---|---|---|")
    for container in sorted(json.loads(run("docker", "inspect", *ids)), key=lambda found: str(found["Name"])):
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        started = timestamp(container["State"]["StartedAt"])
        if container["Id"] in memory:
            healthy = stack.healthy_at.get(container["Id"])
            if healthy is None and "Health" in container["State"]:
                raise BenchError(f"{service} was never seen to become healthy")
            took = "no health check" if healthy is None else f"{healthy - started:.1f} s"
            print(f"| {service} | {took} | {mebibytes(memory[container['Id']]):.0f} MiB |")
        else:
            lasted = timestamp(container["State"]["FinishedAt"]) - started
            print(f"| {service} | {lasted:.1f} s, then gone | |")
    print(f"| together | | {sum(map(mebibytes, memory.values())):.0f} MiB |\n")


def timestamp(text: str) -> float:
    """Parse Docker's time, which has nanoseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00")).timestamp()


def mebibytes(text: str) -> float:
    """Parse what `docker stats` prints."""
    match = re.fullmatch(r"([\d.]+)([KMG]i)?B", text)
    if match is None:
        raise BenchError(f"docker stats says {text}")
    factor = {None: 1 / MEBIBYTE, "Ki": 1 / 1024, "Mi": 1.0, "Gi": 1024.0}
    return float(match[1]) * factor[match[2]]


def print_images(compose: list[str]) -> None:
    """Print the size of each image, and of what it adds to the image that it is built on; and of all together."""
    images = sorted(set(run(*compose, "config", "--images").split()))
    base, below = set(layers(PYTHON)), size_of(PYTHON)
    together = 0
    print("| image | size | beyond its base |\n|---|---|---|")
    for image in images:
        size = size_of(image)
        own = size - below if base <= set(layers(image)) else None
        together += size if own is None else own
        print(f"| {image} | {size / MEBIBYTE:.0f} MiB | {'' if own is None else f'{own / MEBIBYTE:.0f} MiB'} |")
    print(f"| all, and {PYTHON} once | {(together + below) / MEBIBYTE:.0f} MiB | |\n")


def size_of(image: str) -> int:
    """Return an image's bytes."""
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))


def layers(image: str) -> list[str]:
    """Return an image's layers."""
    found: list[str] = json.loads(run("docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


def print_rebuild(folder: Path, compose: list[str]) -> None:
    """Change a line that both images hold, build again, and check that no dependency was installed for it."""
    source = folder / CHANGED
    # Never the same one: BuildKit would know the result of an earlier run.
    source.write_text(f"{source.read_text(encoding='utf-8')}\n# Line {time.time_ns()}.\n", encoding="utf-8")
    before = {image: layers(f"todo-{image}:bench") for image in ("api", "worker")}
    began = time.monotonic()
    run(*compose, "build", "api", "worker")
    seconds = time.monotonic() - began
    for image, old in before.items():
        changed = sum(one != other for one, other in zip(old, layers(f"todo-{image}:bench"), strict=True))
        if changed != 1:
            raise BenchError(f"todo-{image}: one line changed {changed} layers")
    print(f"After a change of one line, both images were built again in {seconds:.1f} s; one layer of each changed.")


if __name__ == "__main__":
    sys.exit(main())
