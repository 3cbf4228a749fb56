"""`make fuzz`: Schemathesis reads the API's own description and sends what it allows, what it forbids and what is odd.

It runs on throw-away servers, signed in as an account of its own, and prints the seed that repeats the run. What it
should know about single operations stands in schemathesis.toml.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from dev.network import origin
from dev.processes import ServerError, exit_on_sigterm, free_port, last_lines, scratch_directory, spawn, stop_child
from dev.servers import throwaway_servers

HOST = "127.0.0.1"
BIN = Path(sys.executable).parent
READY_SECONDS = 30


@contextmanager
def running_api(directory: Path, **settings: str) -> Iterator[str]:
    """Run the API on throw-away servers and give its address; a failure shows the end of its log.

    The log goes to a file, as thousands of requests write it.
    """
    with throwaway_servers() as (postgres, valkey):
        environment = {"DATABASE_URL": postgres.create_database("todo"), "REDIS_URL": valkey.url, "ENVIRONMENT": "test"}
        environment |= settings
        subprocess.run([BIN / "todo-admin", "migrate"], env={**os.environ, **environment}, check=True)
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "todo_api.main:create_app", "--factory", "--host", HOST]
        command += ["--port", str(port), "--no-access-log", "--http", "todo_api.protocol:BoundedHttp"]
        log = directory / "api.log"
        api = spawn(command, cwd=Path.cwd(), log=log, **environment)
        try:
            wait_until_ready(api, origin(HOST, port), log)
            yield origin(HOST, port)
        finally:
            stop_child(api, ask=signal.SIGTERM, patience=10)


def wait_until_ready(api: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until the API answers on /readyz.

    Raises:
        ServerError: it died, or took too long.
    """
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(trust_env=False) as client:
        while api.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if client.get(f"{address}/readyz").is_success:
                    return
            time.sleep(0.1)
    raise ServerError(f"The API did not become ready:\n{last_lines(log, 30)}")


def new_token(address: str) -> str:
    """Open an account and return an access token of it."""
    name, password = f"fuzz-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
        account = {"username": name, "email": f"{name}@example.com", "password": password}
        client.post("/users/", json=account).raise_for_status()
        form = {"grant_type": "password", "username": name, "password": password}
        return str(client.post("/token", data=form).raise_for_status().json()["access_token"])


def attack(address: str, options: argparse.Namespace, more: list[str]) -> int:
    """Run Schemathesis and return its exit status."""
    command = [str(BIN / "schemathesis"), "run", f"{address}/openapi.json", "--checks", "all"]
    command += ["--header", f"Authorization: Bearer {new_token(address)}", "--seed", str(options.seed)]
    command += ["--max-examples", str(options.max_examples), "--max-time", str(options.max_time)]
    command += ["--workers", str(options.workers), "--generation-database", "none", *more]
    print(f'Repeat this run: make fuzz ARGS="--seed {options.seed} --max-examples {options.max_examples}"', flush=True)
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Fuzz the API within bounds; arguments that are not known here are handed to `schemathesis run`."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="repeat a run (default: a new one)")
    parser.add_argument(
        "--max-examples", type=int, default=100, help="test cases an operation and phase (default: 100)"
    )
    parser.add_argument("--max-time", type=int, default=600, help="seconds for the whole run (default: 600)")
    parser.add_argument("--workers", type=int, default=1, help="requests at once (default: 1)")
    options, more = parser.parse_known_args()
    exit_on_sigterm()
    try:
        # Cheap passwords: most of the time would go into them otherwise.
        settings = {"RATE_LIMIT_ENABLED": "false", "PASSWORD_BCRYPT_COST": "4", "TOKEN_ACCESS_SECONDS": "86400"}
        with scratch_directory() as directory, running_api(directory, **settings) as address:
            status = attack(address, options, more)
            if status:
                print(f"The end of the API's log:\n{last_lines(directory / 'api.log', 20)}")
    except ServerError as error:
        sys.exit(str(error))
    sys.exit(status)


if __name__ == "__main__":
    main()
