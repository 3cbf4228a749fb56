"""`make stack-lint`: runs linters on Dockerfiles, Compose files, nginx's configuration and the workflows.

An exception stands beside its line, with its reason: `# hadolint ignore=`, `# gixy:disable`, `# zizmor: ignore`,
and for Compose files in dev/compose-lint.yaml.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".venv-lint" / "bin"
NGINX = "nginxinc/nginx-unprivileged:1.30-trixie"
PRODUCTION = ["--env-file", ".env.production.example", "-f", "compose.yaml", "-f", "compose.prod.yaml"]


class Found(Exception):
    """A linter found an error."""


def run(*command: str | Path, stdin: str | None = None, **environment: str) -> str:
    """Run a tool and return its output.

    Raises:
        Found: the tool failed.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COMPOSE_ENV_FILES": "/dev/null", **environment},
    )
    if done.returncode:
        raise Found(f"{Path(command[0]).name}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def dockerfiles() -> str:
    """Run hadolint on every Dockerfile."""
    files = run("git", "ls-files", "*Dockerfile").split()
    run(TOOLS / "hadolint", "--failure-threshold", "style", *files)
    return f"{len(files)} Dockerfiles"


def compose_files() -> str:
    """Check that Compose accepts each set of files, and run a linter on development and production."""
    compose = TOOLS / "docker-compose"
    base = ("-f", "compose.yaml")
    for more in ("compose.watch.yaml", "tests/stack/compose.yaml"):
        run(compose, *base, "-f", more, "--profile", "*", "config", "--quiet", RECEIVER_PORT="1")
    run(compose, *base, "--profile", "*", "config", "--quiet")
    lint: list[str | Path] = [
        TOOLS / "compose-lint",
        "check",
        "--no-env",
        "--strict-config",
        "--fail-on",
        "low",
        "--quiet",
    ]
    run(*lint, "--config", "dev/compose-lint.yaml", "compose.yaml")
    merged = run(compose, *PRODUCTION, "--profile", "*", "config")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "compose.yaml"
        path.write_text(merged, encoding="utf-8")
        run(*lint, "--config", "dev/compose-lint.prod.yaml", path)
    return "compose.yaml, and with it compose.prod.yaml, compose.watch.yaml, tests/stack/compose.yaml"


def nginx() -> str:
    """Run `nginx -t` in nginx's own image, and gixy on the rendered templates."""
    folders = [f"--tmpfs={path}:uid=101,gid=101" for path in ("/etc/nginx/conf.d", "/etc/nginx/todo", "/etc/nginx/tls")]
    dump = run(
        *("docker", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--user=101:101", *folders),
        *(f"--volume={ROOT}/nginx:/etc/nginx/origin:ro", "--entrypoint=sh"),
        os.environ.get("BASE_PREFIX", "") + NGINX,
        *("-c", "/etc/nginx/origin/start.sh test && nginx -c /etc/nginx/todo/nginx.conf -T -q"),
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "nginx.conf"
        path.write_text(dump, encoding="utf-8")
        run(TOOLS / "gixy", path)
    return f"{dump.count('# configuration file ')} files of nginx's configuration"


def workflows() -> str:
    """Run zizmor on the pipelines of GitHub."""
    run(TOOLS / "zizmor", "--offline", "--quiet", "--no-progress", ".github/workflows")
    return "the workflows"


def main() -> None:
    """Run all linters, and print all errors."""
    failed = False
    for look in (dockerfiles, compose_files, nginx, workflows):
        try:
            print(f"Well: {look()}", flush=True)
        except Found as found:
            failed = True
            print(found, file=sys.stderr, flush=True)
        except OSError as error:
            sys.exit(f"make stack-lint needs git and a Docker engine: {error}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
