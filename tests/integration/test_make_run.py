"""`make run`: it is never quiet for long, and Ctrl-C ends it at once while its servers start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dev import run
from dev.processes import free_port


def test_ctrl_c_while_postgresql_starts_begins_nothing_else_and_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dev.run"],
        env={**os.environ, "DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Starting PostgreSQL ...\n"
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(30) == 0
    assert said.endswith("Stopped.\n")
    assert "migrat" not in said
    assert "Starting api" not in said
    assert not [found.pid for found in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(found.info["cmdline"])]


def test_a_slow_start_is_spoken_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "QUIET_SECONDS", 0.01)
    with run.still_starting() as started:
        said, deadline = "", time.monotonic() + 10
        while "... still starting" not in said:
            said += capsys.readouterr().out
            assert time.monotonic() < deadline
        started.set()
