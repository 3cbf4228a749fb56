"""Faults of containers: processes killed from outside, containers stopped or restarted."""

from __future__ import annotations

import os
import signal
from typing import Literal

import psutil

from tests.stack.stack import Stack
from tests.stack.waiting import until

Which = Literal["init", "main"]


async def main_pid(stack: Stack, service: str) -> int:
    """Return the host's pid of the process that Docker's init started: the server itself."""
    init = (await stack.container(service))["State"]["Pid"]
    children = psutil.Process(init).children()
    assert children, f"{service}: init {init} has no child"
    return int(children[0].pid)


async def kill(stack: Stack, service: str, which: Which) -> None:
    """Kill -9 a process by its host pid, and check that Docker has restarted the container.

    `docker kill` would not do: it also tells Docker not to restart the container.
    """
    container = await stack.container(service)
    pid = container["State"]["Pid"] if which == "init" else await main_pid(stack, service)
    os.kill(pid, signal.SIGKILL)

    async def started_anew() -> bool:
        now = await stack.container(service)
        return bool(
            now["RestartCount"] > container["RestartCount"]
            and now["State"]["Running"]
            and now["State"]["StartedAt"] > container["State"]["StartedAt"]
        )

    await until(started_anew, 15, f"Docker starts {service} anew")
