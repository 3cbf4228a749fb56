"""Storms on sign-in, through nginx: what an honest sign-in and the list take, quiet and beside each storm.

    make bench-sign-ins            (ARGS="--seconds 60")

A container stack of its own, with two API processes and real bcrypt. nginx trusts this machine to name addresses, as it
trusts a load balancer, so that 64 addresses can come from one; its own limits are raised, so that the API's are
measured. Exit status 1: an honest sign-in beside a storm took more than three times its quiet time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from tests.factories import PASSWORD, Person
from tests.stack.stack import Stack

FACTOR = 3.0
REFUSED_PAUSE = 0.5
"""Seconds that an attacker waits who was refused: this machine has two cores for both sides."""
NEWCOMERS = 20
"""Accounts that sign in from networks that they have not signed in from, each now and then."""
KEPT = httpx.Limits(max_connections=200, max_keepalive_connections=200)
"""Handshakes are not what is measured."""
OWN_SETTINGS = {
    "COMPOSE_FILE": "compose.yaml",
    "COMPOSE_PROFILES": "",
    "NGINX_TRUSTED_PROXIES": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
    "RATE_LIMIT_REGISTRATIONS": "1000",
}

Attack = Callable[[int], Awaitable[httpx.Response]]
_addresses = (f"203.0.{high}.{low}" for high in itertools.count(1) for low in range(1, 255))


class Seen:
    """Times and statuses of one kind of request."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()

    async def time(self, request: Awaitable[httpx.Response], good: int) -> None:
        """One request; only what went well has a time."""
        began = time.perf_counter()
        try:
            status = (await request).status_code
        except httpx.TransportError:
            status = 0
        self.statuses[status] += 1
        if status == good:
            self.seconds.append(time.perf_counter() - began)

    def at(self, share: float) -> float:
        """A percentile in milliseconds."""
        ordered = sorted(self.seconds) or [float("inf")]
        return 1_000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def __str__(self) -> str:
        shown = " ".join(f"{status}:{count}" for status, count in sorted(self.statuses.items()))
        return f"p50 {self.at(0.5):6.0f}  p95 {self.at(0.95):6.0f}  max {self.at(1):6.0f} ms  ({shown})"


async def measure(
    stack: Stack, people: list[Person], seconds: float, attack: Attack | None, attackers: int
) -> dict[str, Seen]:
    """What is seen for so long, with so many attackers at once."""
    lin, *newcomers = people
    newcomer = itertools.cycle(newcomers)
    seen = {"sign-in, known network": Seen(), "sign-in, new network": Seen(), "list": Seen(), "storm": Seen()}
    ends = time.monotonic() + seconds
    async with AsyncExitStack() as clients:
        http = await clients.enter_async_context(stack.client(timeout=30))

        async def sign_in(name: str, who: Callable[[], Person], address: Callable[[], str]) -> None:
            while time.monotonic() < ends:
                form = {"username": who().username, "password": PASSWORD}
                headers = {"X-Forwarded-For": address()}
                await seen[name].time(http.post("/token", data=form, headers=headers), 200)
                await asyncio.sleep(1.5)

        async def read() -> None:
            while time.monotonic() < ends:
                await seen["list"].time(http.get("/todos/", headers=lin.headers), 200)
                await asyncio.sleep(0.1)

        async def storm(number: int) -> None:
            while attack is not None and time.monotonic() < ends:
                before = seen["storm"].statuses[429] + seen["storm"].statuses[503]
                await seen["storm"].time(attack(number), 403)
                if seen["storm"].statuses[429] + seen["storm"].statuses[503] > before:
                    await asyncio.sleep(REFUSED_PAUSE)

        await asyncio.gather(
            sign_in("sign-in, known network", lambda: lin, lambda: "198.51.100.7"),
            sign_in("sign-in, new network", lambda: next(newcomer), lambda: next(_addresses)),
            read(),
            *(storm(number) for number in range(attackers)),
        )
    return seen


async def bench(stack: Stack, seconds: float) -> bool:
    """Print the figures; whether the bound is kept."""
    await stack.compose("build", "--quiet", seconds=900)
    await stack.compose("up", "--detach", "--wait", "--wait-timeout", "180", "--scale", "api=2", seconds=200)
    stack.ca.write_text(await stack.inside("nginx", "cat", "/etc/nginx/tls/ca.pem"))
    async with (
        stack.client(headers={"X-Forwarded-For": "198.51.100.7"}) as http,
        stack.client(timeout=40, limits=KEPT) as enemy,
    ):
        thief, owner, *people = [await stack.person(http) for _ in range(3 + NEWCOMERS)]
        lin = people[0]
        for number in range(20):
            (await http.post("/todos/", json={"title": f"Todo {number}"}, headers=lin.headers)).raise_for_status()

        def change(person: Person, password: str) -> Attack:
            body = {"email": person.email, "current_password": password}
            headers = {**person.headers, "X-Forwarded-For": "203.0.113.1"}
            return lambda _: enemy.patch("/users/me/", json=body, headers=headers)

        def guess(number: int) -> Awaitable[httpx.Response]:
            form = {"username": f"victim{number}", "password": "not the password"}
            return enemy.post("/token", data=form, headers={"X-Forwarded-For": f"192.0.2.{number + 1}"})

        phases: list[tuple[str, Attack | None, int]] = [
            ("quiet", None, 0),
            ("A: 20 changes of one account at once, wrong password", change(thief, "not the password"), 20),
            ("A: 80 changes of one account at once, right password", change(owner, PASSWORD), 80),
            ("B: 64 sign-ins from 64 addresses at once", guess, 64),
        ]
        kept, quiet = True, 0.0
        for name, attack, attackers in phases:
            seen = await measure(stack, people, seconds, attack, attackers)
            print(f"\n{name}, {seconds:g} s", *(f"  {kind:24} {it}" for kind, it in seen.items()), sep="\n", flush=True)
            print(f"  {'list p99':24} {seen['list'].at(0.99):.0f} ms", flush=True)
            took = seen["sign-in, known network"].at(0.5)
            quiet = quiet or took
            print(f"  {'sign-in against quiet':24} {took / quiet:.1f}", flush=True)
            kept &= took <= FACTOR * quiet
    return kept


async def main() -> int:
    """Measure on a stack that is removed afterwards."""
    parser = argparse.ArgumentParser(prog="make bench-sign-ins", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="of each phase (default: 60)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(f"todo-storms-{os.getpid()}", Path(folder) / "ca.pem", overrides=OWN_SETTINGS)
        try:
            kept = await bench(stack, options.seconds)
        finally:
            await stack.down()
    print("\nThe bound is kept." if kept else "\nBROKEN: an honest sign-in takes more than three times its quiet time.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
