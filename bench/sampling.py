"""One measurement of one server, and the arithmetic over many of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.cpu import Meters
from bench.load import Client, LoadError, Requests


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured: one kind of request to one server."""

    name: str
    port: int
    pid: int
    requests: Requests
    body: bytes | None = None
    """What it must be answered with, every time, if that is known."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much one measurement may take, whichever is reached first."""

    connections: int
    requests: int
    seconds: float
    warm_up: int
    """Requests sent before the clocks are read: connections opened, statements prepared, caches filled."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. CPU in microseconds a request, latencies in milliseconds."""

    requests: int
    per_second: float
    server_us: float
    postgres_us: float
    valkey_us: float
    p50_ms: float
    p99_ms: float

    @property
    def total_us(self) -> float:
        """The server's and PostgreSQL's CPU."""
        return self.server_us + self.postgres_us


async def measure(target: Target, effort: Effort, meters: Meters) -> Sample:
    """Load one server while the others idle, and read what it, PostgreSQL and Valkey spent on it.

    Raises:
        LoadError: an answer was no success or not the expected one.
    """
    read = meters.for_server(target.pid)
    try:
        async with Client(target.port, connections=effort.connections) as client:
            await client.send(target.requests, requests=effort.warm_up, seconds=effort.seconds, expected=target.body)
            before = read()
            run = await client.send(
                target.requests, requests=effort.requests, seconds=effort.seconds, expected=target.body
            )
            spent = read() - before
    except LoadError as error:
        raise LoadError(f"{target.name}: {error}") from None
    each = 1e6 / run.requests
    return Sample(
        requests=run.requests,
        per_second=run.requests / run.seconds,
        server_us=spent.server * each,
        postgres_us=spent.postgres * each,
        valkey_us=spent.valkey * each,
        p50_ms=run.percentile(0.50) * 1e3,
        p99_ms=run.percentile(0.99) * 1e3,
    )


async def alternate(
    targets: Sequence[Target], effort: Effort, meters: Meters, *, rounds: int
) -> dict[str, list[Sample]]:
    """Measure all targets once a round, every other round backwards, so that a drift of the machine cancels out."""
    samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            samples[target.name].append(await measure(target, effort, meters))
    return samples


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure over another, taken within each round, since the machine drifts from round to round."""

    name: str
    values: tuple[float, ...]
    bound: float | None
    """None: for context, without a bound."""

    @classmethod
    def of(cls, name: str, over: Sequence[float], under: Sequence[float], bound: float | None) -> "Ratio":
        """The ratio of each round."""
        return cls(name, tuple(a / b for a, b in zip(over, under, strict=True)), bound)

    @property
    def value(self) -> float:
        """The median over the rounds."""
        return median(self.values)

    @property
    def kept(self) -> bool:
        """Whether the bound holds."""
        return self.bound is None or self.value <= self.bound

    def __str__(self) -> str:
        spread = f"({min(self.values):.2f}-{max(self.values):.2f})"
        if self.bound is None:
            return f"{self.name}: {self.value:.2f} {spread}"
        return f"{self.name}: {self.value:.2f} {spread}, bound {self.bound:.2f}: {'kept' if self.kept else 'BROKEN'}"


class Floor(Ratio):
    """A ratio that is to be at least its bound, not at most."""

    @classmethod
    def of(cls, name: str, over: Sequence[float], under: Sequence[float], bound: float | None) -> "Floor":
        """The ratio of each round."""
        return cls(name, tuple(a / b for a, b in zip(over, under, strict=True)), bound)

    @property
    def kept(self) -> bool:
        """Whether the bound holds."""
        return self.bound is None or self.value >= self.bound
