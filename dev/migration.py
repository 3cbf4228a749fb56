"""`make migration m="..."`: write a new migration from what changed in the models since the last one.

Alembic compares the models with a database, so a throw-away one is brought up to the newest migration first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dev.processes import ServerError, exit_on_sigterm
from dev.servers import EmbeddedPostgres, throwaway_servers

ALEMBIC_INI = Path("services/core/alembic.ini")
VERSIONS = Path("services/core/src/todo_core/migrations/versions")
BIN = Path(sys.executable).parent


def next_number() -> str:
    """Return the number of the next migration: they count 0001, 0002, ... so that their order shows in a listing."""
    numbers = (path.name[:4] for path in VERSIONS.glob("[0-9][0-9][0-9][0-9]_*.py"))
    return f"{max(map(int, numbers), default=0) + 1:04}"


def write(message: str, postgres: EmbeddedPostgres) -> int:
    """Write the migration file and return the exit status of what failed, or 0."""
    environment = {**os.environ, "DATABASE_URL": postgres.create_database("todo"), "ENVIRONMENT": "development"}
    number = next_number()
    revision = ["revision", "--autogenerate", "--rev-id", number, "--message", message]
    for command in (
        [str(BIN / "todo-admin"), "migrate"],
        [sys.executable, "-m", "alembic", "--config", str(ALEMBIC_INI), *revision],
    ):
        if status := subprocess.run(command, env=environment, check=False).returncode:
            return status
    written = [str(path) for path in VERSIONS.glob(f"{number}_*.py")]
    subprocess.run([str(BIN / "ruff"), "format", "--quiet", *written], check=True)
    print("Read it before you commit it: a rename looks like a removal and an addition, and data moves by hand only.")
    return 0


def main() -> None:
    """Write a migration that is called what the first argument says."""
    message = " ".join(sys.argv[1:]).strip()
    if not message:
        sys.exit('Say what changes: make migration m="add a colour to lists"')
    exit_on_sigterm()
    try:
        with throwaway_servers() as (postgres, _):
            status = write(message, postgres)
    except ServerError as error:
        sys.exit(str(error))
    sys.exit(status)


if __name__ == "__main__":
    main()
