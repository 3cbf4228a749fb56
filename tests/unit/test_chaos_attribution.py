"""The causes of repeats in the chaos run: one too few blames the product, one too many hides a fault."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.attribution import Attribution
from tests.chaos.faults import Window
from tests.chaos.processes import CeleryProcess, Processes
from tests.chaos.receivers import Answer, Receipt

SENDER, ANOTHER = 10, 20
FIRST = 100.0
PARENT = "kill worker parent"


def receipt(pid: int | None, at: float = FIRST, answer: Answer = "accepted") -> Receipt:
    return Receipt("a", "webhook", "/1", 1, None, pid, at, answer, at + 0.1)


def cause(window: Window, first: Receipt, again_at: float = FIRST + 6) -> str | None:
    return Attribution([window], {}).cause(first, receipt(ANOTHER, again_at))


def test_a_repeat_for_which_nothing_was_broken_has_no_cause() -> None:
    assert Attribution([], {}).cause(receipt(SENDER), receipt(ANOTHER, FIRST + 6)) is None


@pytest.mark.parametrize(("began", "explains"), [(-0.2, True), (0.0, True), (1.9, True), (2.5, False), (7.0, False)])
def test_a_kill_explains_what_its_own_process_cannot_have_settled_yet(began: float, explains: bool) -> None:
    window = Window("kill prefork child", FIRST + began, FIRST + began + 0.01, frozenset({SENDER}))
    assert (cause(window, receipt(SENDER)) is not None) is explains


def test_the_kill_of_one_process_does_not_explain_what_another_repeats() -> None:
    window = Window("kill prefork child", FIRST, FIRST + 0.01, frozenset({SENDER}))
    assert cause(window, receipt(ANOTHER)) is None


@pytest.mark.parametrize(
    ("began", "ended", "explains"),
    [(-0.3, -0.2, True), (-3.0, 1.0, True), (-3.0, -0.6, False), (0.6, 1.0, False)],
)
def test_an_unknown_sender_is_one_of_those_being_killed_at_that_moment(
    began: float, ended: float, explains: bool
) -> None:
    window = Window(PARENT, FIRST + began, FIRST + ended, frozenset({SENDER}))
    assert cause(window, receipt(None)) == (PARENT if explains else None)


@pytest.mark.parametrize(
    ("answer", "timed_out", "explains"),
    [("hung up", -1.0, True), ("hung up", -4.0, False), ("accepted", 1.0, True), ("accepted", -1.0, False)],
)
def test_a_time_out_explains_the_request_that_it_gave_up(answer: Answer, timed_out: float, explains: bool) -> None:
    found = Attribution([], {"a": [FIRST + timed_out]}).cause(
        receipt(SENDER, answer=answer), receipt(ANOTHER, FIRST + 9)
    )
    assert (found == "time-out of the sender") is explains


def test_a_process_that_has_lost_its_parent_is_still_found(tmp_path: Path) -> None:
    child = [sys.executable, "-c", "import time; time.sleep(60)"]
    parent = f"import subprocess, time; subprocess.Popen({child!r}); time.sleep(60)"
    worker = CeleryProcess("worker1", [sys.executable, "-c", parent], dict(os.environ), tmp_path)
    processes = Processes([worker], [])
    worker.start()
    assert isinstance(worker.process, subprocess.Popen)
    try:
        until = time.monotonic() + 20
        while not (children := worker.children()) and time.monotonic() < until:
            time.sleep(0.01)
        assert set(processes.pids()) == {worker.process.pid, *children}
        worker.process.kill()
        worker.process.wait()
        assert worker.children() == []
        assert set(processes.pids()) == set(children)
    finally:
        processes.kill()
