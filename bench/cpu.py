"""What a process has cost so far, in CPU seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil


def process_cpu(pid: int) -> float:
    """User and system CPU seconds of one process, all threads, its ended ones too.

    Linux keeps a clock for each process, readable to the nanosecond; psutil's figures come in steps of 10 ms, a
    percent or two of a short run.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) computes: CPUCLOCK_SCHED of this pid
    except OSError:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)


def cluster_cpu(postmaster: int) -> float:
    """CPU seconds of a PostgreSQL cluster: the postmaster, its living children, and those that it has buried."""
    parent = psutil.Process(postmaster)
    buried = parent.cpu_times()
    total = process_cpu(postmaster) + float(buried.children_user + buried.children_system)
    for child in parent.children():
        try:
            total += process_cpu(child.pid)
        except psutil.NoSuchProcess:
            continue  # it ended between the two calls; its time is with the postmaster's by now, or lost in the noise
    return total


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds spent by each party."""

    server: float
    postgres: float
    valkey: float

    def __sub__(self, earlier: "Cost") -> "Cost":
        return Cost(self.server - earlier.server, self.postgres - earlier.postgres, self.valkey - earlier.valkey)


@dataclass(frozen=True, slots=True)
class Meters:
    """The processes to read, as process ids."""

    postmaster: int
    valkey: int

    def for_server(self, pid: int) -> Callable[[], Cost]:
        """A reading of all three, `pid` being the server under test."""
        return lambda: Cost(process_cpu(pid), cluster_cpu(self.postmaster), process_cpu(self.valkey))
