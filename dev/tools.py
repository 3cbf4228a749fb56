"""`python -m dev.tools NAME`: makes a separate environment, .venv-NAME, from requirements/NAME.lock.

For tools whose dependencies clash with the others. `make` calls this when the lock changes.
"""

from __future__ import annotations

import sys

from dev.bootstrap import REQUIREMENTS, ROOT, UV, fail, run_telling, uv_environment


def make(name: str) -> None:
    """Make the environment, or update it to the lock."""
    environment = uv_environment()
    directory = ROOT / f".venv-{name}"
    python = directory / "bin" / "python"
    print(f"Installing requirements/{name}.lock in {directory.name} (half a minute the first time)", flush=True)
    commands = [["pip", "sync", "--python", str(python), "--require-hashes", str(REQUIREMENTS / f"{name}.lock")]]
    if not python.exists():
        commands.insert(0, ["venv", "--clear", "--no-project", "--python", sys.executable, str(directory)])
    for command in commands:
        if not run_telling([str(UV), "--no-progress", *command], environment):
            fail(f"uv {command[0]} failed; the lines above say why. A mirror: PIP_INDEX_URL=https://<mirror>/simple")


if __name__ == "__main__":
    make(sys.argv[1])
