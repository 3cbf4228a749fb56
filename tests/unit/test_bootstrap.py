"""The first installation: it is never quiet for long, and says what to do about a slow package index."""

from __future__ import annotations

import sys

import pytest

from dev import bootstrap


def test_an_installer_that_says_nothing_is_spoken_for_and_a_mirror_is_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "QUIET_SECONDS", 0.1)
    script = "import time; print('Downloading'); time.sleep(1.2); print(' + package==1')"
    assert bootstrap.run_telling([sys.executable, "-uc", script])
    lines = capsys.readouterr().out.splitlines()
    lines.remove("  Downloading")
    assert len(lines) > 1
    assert all(line.startswith("  ... still installing") for line in lines)
    assert [bootstrap.MIRROR in line for line in lines].count(True) == 1


def test_an_installer_that_fails_is_told_apart() -> None:
    assert not bootstrap.run_telling([sys.executable, "-c", "raise SystemExit(1)"])
