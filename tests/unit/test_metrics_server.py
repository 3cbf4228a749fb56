"""The metrics server on real processes: any of them serves the sum of all, also after others have ended."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from dev.processes import free_port
from todo_core.metrics_server import MetricsServer

PROCESS = """
import sys
from pathlib import Path
import structlog
from todo_core.metrics_server import MetricsServer

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
metrics_server = MetricsServer(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]))
metrics_server.choose()
metrics_server.join()
from prometheus_client import Counter, Gauge, Histogram
sent = Counter("sent", "Sent")
took = Histogram("took_seconds", "Took", buckets=(1, 10))
under_way = Gauge("under_way", "Under way", multiprocess_mode="livesum")
oldest = Gauge("oldest", "Oldest", multiprocess_mode="mostrecent")
metrics_server.serve()
print("ready", flush=True)
for line in sys.stdin:
    match line.split():
        case ["count", number]:
            sent.inc(int(number))
            took.observe(int(number))
            under_way.set(int(number))
            oldest.set(int(number))
        case ["close"]:
            metrics_server.close()
    print("done", flush=True)
"""


class Service:
    """Processes that share a folder and a port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.processes: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        """Start one more process that counts."""
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(self.directory), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def tell(self, process: subprocess.Popen[str], command: str) -> None:
        """Have it do something, and wait until it has."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(command + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a process."""
        process.kill()
        process.wait()

    def scrape(self) -> dict[str, float]:
        """Scrape; return the values."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def until(self, check: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """Scrape until the check holds; return the values."""
        end = time.monotonic() + 20
        while True:
            try:
                found = self.scrape()
            except (URLError, ConnectionError):
                found = {}
            if found and check(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.02)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """None of its processes is started yet."""
    made = Service(tmp_path / "metrics")
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def test_one_process_serves_what_all_have_counted(service: Service) -> None:
    one, two = service.start(), service.start()
    service.tell(one, "count 5")
    service.tell(two, "count 2")
    found = service.until(lambda found: found["sent_total"] == 7)
    assert found["took_seconds_count"] == 2
    assert found['took_seconds_bucket{le="1.0"}'] == 0
    assert found['took_seconds_bucket{le="10.0"}'] == 2
    assert (found["under_way"], found["oldest"]) == (7, 2)


def test_what_the_dead_have_counted_stays_and_what_was_true_of_them_goes(service: Service) -> None:
    one, two = service.start(), service.start()
    service.tell(two, "count 2")
    service.tell(one, "count 5")
    service.kill(two)
    found = service.until(lambda found: found["under_way"] == 5)
    assert (found["sent_total"], found["took_seconds_count"], found["took_seconds_sum"]) == (7, 2, 7)
    assert found["oldest"] == 5


def test_processes_that_come_and_go_do_not_fill_the_folder(service: Service) -> None:
    staying = service.start()
    service.tell(staying, "count 1")
    sizes = []
    found: dict[str, float] = {}
    for number in range(2, 5):
        process = service.start()
        service.tell(process, f"count {number}")
        service.kill(process)
        found = service.until(lambda found, number=number: found["oldest"] == number)  # type: ignore[misc]
        sizes.append(len(list(service.directory.iterdir())))
    assert (found["sent_total"], found["took_seconds_count"]) == (10, 4)
    assert sizes[0] == sizes[-1]


@pytest.mark.parametrize("end", ["close", "kill"])
def test_another_takes_over_when_the_one_that_serves_ends(end: str, service: Service) -> None:
    one = service.start()
    service.tell(one, "count 5")
    service.until(lambda found: found["sent_total"] == 5)
    two = service.start()
    service.tell(two, "count 2")
    if end == "kill":
        service.kill(one)
    else:
        service.tell(one, "close")
    found = service.until(lambda found: found["under_way"] == 2)
    assert found["sent_total"] == 7


def test_a_service_that_starts_anew_starts_from_nothing(service: Service) -> None:
    one, two = service.start(), service.start()
    service.tell(one, "count 5")
    service.kill(one)
    service.kill(two)
    service.tell(service.start(), "count 2")
    assert service.until(bool)["sent_total"] == 2


def test_with_port_0_nothing_happens(tmp_path: Path) -> None:
    metrics_server = MetricsServer(tmp_path / "metrics", "127.0.0.1", 0)
    metrics_server.choose()
    metrics_server.join()
    metrics_server.serve()
    metrics_server.close()
    assert list(tmp_path.iterdir()) == []
