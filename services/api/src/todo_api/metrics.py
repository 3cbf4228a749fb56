"""The API's metrics for Prometheus. Nothing here is made, or even imported, unless API_METRICS_PORT is set.

Requests are counted as they end, on label children that are looked up once. What is a number at any moment (requests
and streams under way, what the cache has answered) is written down once a second, so that no request pays for it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from todo_api.dependencies import Process
from todo_core.metrics_server import MetricsServer

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
_PUBLISH_SECONDS = 1.0
_NO_ROUTE = "none"
_NO_ANSWER = "499"
"""The status that proxies log for a client that disconnected before the answer."""


class Metrics:
    """The metrics of one process. With PROMETHEUS_MULTIPROC_DIR set, the metrics server adds up all processes'."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = 0
        self._requests = Counter(
            "todo_http_requests",
            "Requests by the template of their path, method and status; 499: the client left",
            ["route", "method", "code"],
            registry=registry,
        )
        self._duration = Histogram(
            "todo_http_request_duration_seconds",
            "From a request's head to its answer's; the body of an answer takes what its reader takes",
            ["route", "method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._under_way = Gauge(
            "todo_http_requests_under_way",
            "Requests not answered to the end, open streams among them",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._streams = Gauge(
            "todo_streams_open", "Open streams of notifications", registry=registry, multiprocess_mode="livesum"
        )
        self._lists = Counter("todo_list_reads", "Pages of todos by what they came from", ["source"], registry=registry)
        self._refusals = Counter(
            "todo_limit_refusals", "What a limit refused, by its name", ["limit"], registry=registry
        )
        self._published: dict[str, int] = {}
        self._children: dict[tuple[str | None, str, int], tuple[Counter, Histogram]] = {}

    def finished(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """A request has ended.

        Args:
            route: the template of its path; None if nothing is there.
            method: as the client wrote it.
            status: of the answer; 0 if there was none.
            seconds: until the answer began.
        """
        key = (route, method, status)
        children = self._children.get(key)
        if children is None:
            children = self._look_up(key)
        children[0].inc()
        if status:
            children[1].observe(seconds)

    def _publish(self, process: Process) -> None:
        self._under_way.set(self.in_flight)
        self._streams.set(process.streams.count)
        for source, count in process.lists.read_from.items():
            self._lists.labels(source).inc(count - self._published.get(source, 0))
            self._published[source] = count
        for limit, count in process.limits.refusals.items():
            self._refusals.labels(limit).inc(count - self._published.get(limit, 0))
            self._published[limit] = count

    @asynccontextmanager
    async def served(self, metrics_server: MetricsServer, process: Process) -> AsyncIterator[None]:
        """Let Prometheus find them while the block lasts."""
        metrics_server.serve()
        publishing = asyncio.create_task(self._keep_publishing(process))
        try:
            yield
        finally:
            publishing.cancel()
            self._publish(process)
            await asyncio.to_thread(metrics_server.close)

    async def _keep_publishing(self, process: Process) -> None:
        while True:
            self._publish(process)
            await asyncio.sleep(_PUBLISH_SECONDS)

    def _look_up(self, key: tuple[str | None, str, int]) -> tuple[Counter, Histogram]:
        route, method, status = key
        template = route or _NO_ROUTE
        # A client may write any method. It must not make a new time series, nor grow this process.
        known = method if method in _METHODS else "other"
        children = (
            self._requests.labels(template, known, str(status) if status else _NO_ANSWER),
            self._duration.labels(template, known),
        )
        if known == method:
            self._children[key] = children
        return children
