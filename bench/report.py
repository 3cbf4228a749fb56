"""What was measured, for eyes and for `bench/results/`."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import orjson

from bench.sampling import Ratio, Sample

RESULTS = Path(__file__).resolve().parent / "results"
LIBRARIES = ("fastapi", "starlette", "uvicorn", "uvloop", "sqlalchemy", "sqlmodel", "asyncpg", "orjson", "python-jose")

BUSY = 1.0


def machine(postgres: str, libraries: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """What the figures belong to; figures without it mean nothing a month later."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "postgresql": postgres,
        **{library: version(library) for library in libraries},
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def machine_lines(facts: dict[str, str], libraries: Sequence[str] = LIBRARIES) -> str:
    """The machine in a few lines."""
    versions = ", ".join(f"{name} {facts[name]}" for name in libraries)
    lines = [f"{facts['date']}  {facts['cpu']}  {facts['python']}  PostgreSQL {facts['postgresql']}", versions]
    if float(facts["load"]) > BUSY:
        # CPU time is not wall time, but other processes that share the caches and interrupt these still add to it.
        lines.append(f"The machine is busy (load {facts['load']}): expect the spread to be wide and the ratios coarse.")
    return "\n".join(lines)


def samples_table(samples: dict[str, list[Sample]], *, first_column: str) -> str:
    """One row a target: medians over the rounds, and the spread of the figure that counts."""
    head = (first_column, "server CPU us", "min-max", "PostgreSQL us", "Valkey us", "requests/s", "p50 ms", "p99 ms")
    rows = [
        (
            name,
            f"{median(s.server_us for s in taken):.0f}",
            f"{min(s.server_us for s in taken):.0f}-{max(s.server_us for s in taken):.0f}",
            f"{median(s.postgres_us for s in taken):.0f}",
            f"{median(s.valkey_us for s in taken):.0f}",
            f"{median(s.per_second for s in taken):.0f}",
            f"{median(s.p50_ms for s in taken):.2f}",
            f"{median(s.p99_ms for s in taken):.2f}",
        )
        for name, taken in samples.items()
    ]
    return table([head, *rows])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns in line: the first to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_json(samples: dict[str, list[Sample]], ratios: Sequence[Ratio]) -> dict[str, object]:
    """Write every sample, so that others can evaluate them differently."""
    return {
        "samples": samples,
        "ratios": [
            {"name": r.name, "median": r.value, "rounds": r.values, "bound": r.bound, "kept": r.kept} for r in ratios
        ],
    }


def save(facts: dict[str, str], sections: dict[str, dict[str, object]], name: str = "latest") -> None:
    """Write the last run's figures, over those of the run before."""
    RESULTS.mkdir(exist_ok=True)
    figures = orjson.dumps({"machine": facts, **sections}, option=orjson.OPT_INDENT_2)
    (RESULTS / f"{name}.json").write_bytes(figures + b"\n")
