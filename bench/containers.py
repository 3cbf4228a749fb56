"""`make bench-containers`: the size of each image, the cold start and idle memory of each container, and a rebuild.

A stack of its own is started from what is committed and thrown away afterwards. What is built is what
`git archive HEAD` holds, so that a rebuild can change a line without touching the checkout.
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
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench import report
from dev.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
IDLE_SECONDS = 60
CHANGED = "services/core/src/todo_core/clock.py"
MEBIBYTE = 1024 * 1024


class BenchError(Exception):
    """Something could not be measured."""


def main() -> int:
    """Print the tables; 2 if something could not be measured."""
    try:
        with checkout() as folder, started_stack(folder) as stack:
            print(report.machine_lines(report.machine("17 (container)", ()), ()))
            print(f"\n`docker compose up --wait` on new volumes: {stack.seconds:.1f} s.\n")
            time.sleep(IDLE_SECONDS)
            print_containers(stack)
            print_images(stack.compose)
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


@dataclass(frozen=True)
class Stack:
    """A running stack: how to speak to it, and what was seen while it started."""

    compose: list[str]
    seconds: float
    healthy_at: dict[str, float]


@contextmanager
def started_stack(folder: Path) -> Iterator[Stack]:
    """Start the stack from images that are built already."""
    os.environ |= {"HTTPS_PORT": str(free_port()), "HTTP_PORT": str(free_port()), "TAG": "bench"}
    project = f"todo-bench-{os.getpid()}"
    compose = ["docker", "compose", "--project-directory", str(folder), "--project-name", project]
    run(*compose, "build", cwd=folder)
    try:
        # Listened to meanwhile: Docker remembers the last 256 events only, and every health check is several.
        listen = ["docker", "events", "--filter", f"label=com.docker.compose.project={project}"]
        listen += ["--filter", "event=health_status", "--format", "{{json .}}"]
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as events:
            began = time.monotonic()
            run(*compose, "up", "--detach", "--wait", cwd=folder)
            seconds = time.monotonic() - began
            events.terminate()
            said = [json.loads(line) for line in events.stdout or ()]
        healthy = {event["id"]: event["timeNano"] / 1e9 for event in said if event["status"].endswith(": healthy")}
        yield Stack(compose, seconds, healthy)
    finally:
        run(*compose, "down", "--volumes", "--remove-orphans", cwd=folder)


def print_containers(stack: Stack) -> None:
    """Print for each service: from its start to its first good health check or its end, and its memory when idle."""
    ids = run(*stack.compose, "ps", "--all", "--quiet").split()
    running = run(*stack.compose, "ps", "--quiet").split()
    memory = {}
    for line in run("docker", "stats", "--no-stream", "--no-trunc", "--format", "{{json .}}", *running).splitlines():
        stats = json.loads(line)
        memory[stats["ID"]] = stats["MemUsage"].split(" / ")[0]
    print("| container | start to healthy (or done) | memory, idle |\n|---|---|---|")
    for container in sorted(json.loads(run("docker", "inspect", *ids)), key=lambda found: str(found["Name"])):
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        started = timestamp(container["State"]["StartedAt"])
        if container["Id"] in memory:
            took = stack.healthy_at[container["Id"]] - started
            print(f"| {service} | {took:.1f} s | {mebibytes(memory[container['Id']]):.0f} MiB |")
        else:
            took = timestamp(container["State"]["FinishedAt"]) - started
            print(f"| {service} | {took:.1f} s, then gone | |")
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
    """Print the size of each image, and of what it adds to the image that it is built on."""
    images = sorted(set(run(*compose, "config", "--images").split()))
    base = {layer for image in ("python:3.13-slim-trixie",) for layer in layers(image)}
    print("| image | size | beyond its base |\n|---|---|---|")
    for image in images:
        size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))
        own = ""
        if base <= set(layers(image)):
            below = int(run("docker", "image", "inspect", "--format", "{{.Size}}", "python:3.13-slim-trixie"))
            own = f"{(size - below) / MEBIBYTE:.0f} MiB"
        print(f"| {image} | {size / MEBIBYTE:.0f} MiB | {own} |")
    print()


def layers(image: str) -> list[str]:
    """Return an image's layers."""
    found: list[str] = json.loads(run("docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


def print_rebuild(folder: Path, compose: list[str]) -> None:
    """Change a line that both images hold, build again, and check that no dependency was installed for it."""
    source = folder / CHANGED
    source.write_text(source.read_text(encoding="utf-8") + "\n# One more line.\n", encoding="utf-8")
    before = {image: layers(f"todo-{image}:bench") for image in ("api", "worker")}
    began = time.monotonic()
    run(*compose, "build", "api", "worker", cwd=folder)
    seconds = time.monotonic() - began
    for image, old in before.items():
        changed = sum(one != other for one, other in zip(old, layers(f"todo-{image}:bench"), strict=True))
        if changed != 1:
            raise BenchError(f"todo-{image}: one line changed {changed} layers")
    print(f"After a change of one line, both images were built again in {seconds:.1f} s; one layer of each changed.")


if __name__ == "__main__":
    sys.exit(main())
