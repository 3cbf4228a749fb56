"""Wrong moves of the first minutes: `make run` and `make seed` answer with a sentence that says what to do instead."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import seed
from dev.data_directory import DataDirectory
from dev.network import check_port
from dev.processes import ServerError, free_port


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("text", ["", "http", "-1", "0", "65536", "80.5"])
def test_what_is_no_port_is_named_beside_one_that_works(text: str) -> None:
    with pytest.raises(ServerError, match=rf"^PORT={re.escape(text)} is not a port\. For example: PORT=8001$"):
        check_port("127.0.0.1", text)


def test_a_port_in_use_is_named_beside_the_next(taken: int) -> None:
    with pytest.raises(ServerError, match=rf"^Port {taken} is in use .*: PORT={taken + 1} make run$"):
        check_port("127.0.0.1", str(taken))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(ServerError, match=rf"^HOST={re.escape(host)} is no address of this machine .*HOST=0\.0\.0\.0"):
        check_port(host, str(free_port()))


def test_data_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"^Cannot keep data in .*/file: .*DATA_DIR=/path make run$"):
        DataDirectory(tmp_path / "file").__enter__()


def test_a_second_run_in_one_directory_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with DataDirectory(tmp_path), pytest.raises(ServerError, match=r"^Another `make run` \(pid \d+\) is using"):
        DataDirectory(tmp_path).__enter__()
    with DataDirectory(tmp_path):
        pass  # free again


def test_seed_without_a_run_says_what_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", str(free_port()))
    with pytest.raises(SystemExit, match=r"^Nothing answers at .*Start it with `make run`"):
        seed.main()


@pytest.mark.parametrize("port", ["http", "99999"])
def test_seed_on_what_is_no_port_names_it(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(SystemExit, match=rf"^PORT={port} is not a port\. For example: PORT=8001$"):
        seed.main()
