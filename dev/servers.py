"""The embedded servers: `make run` keeps their data; tests, benchmarks and `make migration` throw it away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dev.postgres import EmbeddedPostgres
from dev.processes import ServerError, scratch_directory
from dev.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedValkey", "ServerError", "throwaway_servers"]


@contextmanager
def throwaway_servers() -> Iterator[tuple[EmbeddedPostgres, EmbeddedValkey]]:
    """Give a PostgreSQL and a Valkey whose data is removed at the end."""
    with (
        scratch_directory() as directory,
        EmbeddedPostgres(directory / "postgres", throwaway=True) as postgres,
        EmbeddedValkey(directory / "valkey") as valkey,
    ):
        yield postgres, valkey
