"""The metrics of requests that fail."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from todo_api.metrics import Metrics
from todo_api.middleware import RequestContext


async def ask(app: ASGIApp) -> None:
    """Send one request and ignore the answer."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    await app({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)


def failing(error: BaseException) -> ASGIApp:
    """An application that does nothing but fail."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


def counted(registry: CollectorRegistry, code: str) -> float | None:
    """Return the number of requests that ended with this code."""
    labels = {"route": "none", "method": "GET", "code": code}
    return registry.get_sample_value("todo_http_requests_total", labels)


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("defect"), "500"), (ConnectionError("no database"), "503")])
async def test_an_error_that_nobody_caught_is_counted_as_what_was_answered(error: Exception, code: str) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    await ask(RequestContext(failing(error), metrics))
    assert counted(registry, code) == 1
    assert metrics.in_flight == 0


async def test_a_request_that_the_server_cuts_off_is_no_longer_under_way() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    with pytest.raises(asyncio.CancelledError):
        await ask(RequestContext(failing(asyncio.CancelledError()), metrics))
    assert metrics.in_flight == 0
    assert counted(registry, "499") == 1
