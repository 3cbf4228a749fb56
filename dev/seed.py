"""`make seed`: fill a demo account with a few hundred todos, through the API of `make run`, or of the one at URL."""

from __future__ import annotations

import os
import random
import ssl
import sys
import time as clock
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx

from dev.network import running_origin
from dev.processes import ServerError
from dev.seed_texts import ENGLISH, MANDARIN

USERNAME, EMAIL, PASSWORD = "demo", "demo@example.com", "demo-password"
ZONE = ZoneInfo("Asia/Shanghai")
SEED = 20_241
CA = Path(".local/ca.pem")  # written by `make ca`


def todos(now: datetime) -> Iterator[dict[str, object]]:
    """Make up the todos: the same ones each time, with due dates around `now`."""
    chance = random.Random(SEED)
    texts = [(title.format(word), description) for title, words, description in (*ENGLISH, *MANDARIN) for word in words]
    chance.shuffle(texts)
    for title, description in texts:
        todo: dict[str, object] = {"title": title}
        if description and chance.random() < 0.4:
            todo["description"] = description
        days = round(chance.triangular(-45, 60, 4)) if chance.random() < 0.6 else None
        if days is not None:
            at = time(chance.choice([9, 10, 12, 14, 17, 18, 20, 21]), chance.choice([0, 0, 30]))
            todo["due_at"] = datetime.combine(now.date() + timedelta(days=days), at, ZONE).isoformat()
        # Most of the past todos are done, and a few of the others.
        todo["completed"] = chance.random() < (0.85 if days is not None and days < 0 else 0.15)
        yield todo


def sign_in(client: httpx.Client) -> str:
    """Return an access token of the demo account, which is made when it is not there.

    A name that is taken answers 409 and is what a second run expects; a password that was changed since is not.
    """
    account = {"username": USERNAME, "email": EMAIL, "password": PASSWORD, "timezone": str(ZONE)}
    registered = client.post("/users/", json=account)
    if registered.status_code not in {httpx.codes.CREATED, httpx.codes.CONFLICT}:
        sys.exit(f"The demo account could not be made: {registered.status_code} {registered.text}")
    answer = client.post("/token", data={"grant_type": "password", "username": USERNAME, "password": PASSWORD})
    if answer.status_code != httpx.codes.OK:
        sys.exit(f"The demo account could not sign in: {answer.status_code} {answer.text}")
    return str(answer.json()["access_token"])


def fill(client: httpx.Client) -> str:
    """Fill the account unless it has todos already, and return a sentence about it."""
    client.headers["Authorization"] = f"Bearer {sign_in(client)}"
    if client.get("/todos/", params={"limit": 1}).raise_for_status().json()["items"]:
        return "The demo account has its todos already; nothing was changed."
    written = 0
    for todo in todos(datetime.now(ZONE)):
        while (answer := client.post("/todos/", json=todo)).status_code == httpx.codes.TOO_MANY_REQUESTS:
            clock.sleep(int(answer.headers.get("Retry-After", "1")))  # nginx limits how fast one address may write
        answer.raise_for_status()
        written += 1
    return f"Wrote {written} todos."


def main() -> None:
    """Fill the demo account of the API at URL, or at HOST and PORT."""
    try:
        address = os.environ.get("URL") or running_origin()
    except ServerError as error:
        sys.exit(str(error))
    trusted = ssl.create_default_context(cafile=CA if CA.is_file() else None)
    # trust_env: a proxy that the environment names is for the world outside.
    with httpx.Client(base_url=address, timeout=30, trust_env=False, verify=trusted) as client:
        try:
            done = fill(client)
        except httpx.TransportError as error:
            sys.exit(
                f"Nothing answers at {address} ({error}). Start it with `make run`, or name it: PORT=8001 make seed;"
                " the container stack: make ca, then URL=https://localhost:8443 make seed"
            )
        except httpx.HTTPStatusError as error:
            sys.exit(f"{error}\n{error.response.text}")
    print(f"{done} Sign in at {address}/docs as {USERNAME} with the password {PASSWORD}.")


if __name__ == "__main__":
    main()
