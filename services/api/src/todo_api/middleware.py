"""What surrounds every request, as plain ASGI: Starlette's BaseHTTPMiddleware costs more than our whole list route."""

import asyncio
import re
import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from todo_api.problems import BodyTooLarge, internal_error, problem, unavailable
from todo_core.database import is_outage

if TYPE_CHECKING:
    from todo_api.metrics import Metrics  # prometheus_client is imported only where metrics are asked for

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_DRAIN_BYTES = 16 * 1024 * 1024
_DRAIN_SECONDS = 10.0
BODY_SECONDS = 60.0
"""From the end of the headers to the end of the body."""
UPLOADING_BYTES = 32 * 1024 * 1024
"""Of all bodies of a process that have come in part. A body that comes at once, as a todo does, is not counted."""
_PROBES = ("/livez", "/readyz")

_log = structlog.get_logger("todo_api.requests")


class RequestContext:
    """Gives each request its id, catches what nobody else did, writes one line about it and counts it."""

    def __init__(self, app: ASGIApp, metrics: "Metrics | None") -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        # A state of its own: what the lifespan put there is shared by all requests.
        state = scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        status = 0
        answered = started
        metrics = self._metrics
        if scope["method"] == "HEAD":
            # Whatever answers GET answers HEAD (RFC 9110, section 9.3.2); the server leaves out the body.
            scope = {**scope, "method": "GET"}
            state["is_head"] = True  # for an answer whose body has no end

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
                if metrics is not None:
                    answered = time.perf_counter()
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode("ascii"))]
            await send(message)

        failure: Exception | None = None
        if metrics is not None:
            metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            failure = error
            if not status:
                answer = unavailable(scope) if is_outage(error) else internal_error(scope)
                await answer(scope, receive, send_with_id)
        finally:
            if metrics is not None:
                metrics.in_flight -= 1
                metrics.finished(_route(scope), scope["method"], status, answered - started)
        self._write_line(scope, status, time.perf_counter() - started, state, failure)

    @staticmethod
    def _write_line(
        scope: Scope, status: int, seconds: float, state: dict[str, Any], failure: Exception | None
    ) -> None:
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": _route(scope),
            "status": status,
            "ms": round(seconds * 1_000, 2),
            "user_id": state.get("user_id"),
        }
        if failure is None:
            # A probe that has nothing to say comes every few seconds, from each that asks.
            write = _log.debug if status == HTTPStatus.OK and fields["route"] in _PROBES else _log.info
            write("request", **fields)
        elif is_outage(failure):
            _log.warning("request", **fields, reason=f"{type(failure).__name__}: {failure}")
        else:
            _log.error("request", **fields, exc_info=failure)


def _route(scope: Scope) -> str | None:
    """The template, not the path: ids stay out of dashboards, and unknown paths out of the log."""
    return getattr(scope.get("route"), "path", None)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex


class BodyLimit:
    """Reads a request's body, up to a limit, before the application sees the request.

    Beyond it, the application gets `BodyTooLarge` in the request's state in place of a body: whether to say that, or
    that the caller is not signed in, is for the operation to decide. A body that takes too long is answered with 408,
    and with 503 where the unfinished bodies of all requests are too large together.

    A server that answers and closes at once breaks the connection of a client that is still sending, and the client
    never reads why. So the rest is read first and thrown away, up to a bound.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _declared_length(scope)
        if declared == 0:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._read(scope, receive, declared)
        except (TimeoutError, _TooMuch) as refused:
            code = "unavailable" if isinstance(refused, _TooMuch) else "request_timeout"
            retry = {"Retry-After": "5"} if code == "unavailable" else {}
            answer = problem(scope, code, headers={"Connection": "close", **retry})
            await answer(scope, receive, send)
            return
        except _Gone:
            return

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive, declared: int | None) -> bytes | None:
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                chunk = message.get("body", b"")
                done = not message.get("more_body", False)
                chunks.append(chunk)
                size += len(chunk)
                self._uploading += len(chunk)
                if size > self._limit or (declared is not None and declared > self._limit):
                    done = await _drain(receive, done=done, size=size)
                    scope["state"]["refusal"] = BodyTooLarge(self._limit, is_drained=done)
                    return b""
                if done:
                    return b"".join(chunks)
                if self._uploading > UPLOADING_BYTES:
                    raise _TooMuch
        finally:
            self._uploading -= size


class _TooMuch(Exception):
    """The unfinished bodies of all requests have too many bytes together."""


class _Gone(Exception):
    """The client went away before its request was whole."""


async def _drain(receive: Receive, *, done: bool, size: int) -> bool:
    """Read on and throw away, up to a bound; whether the end was reached."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while not done and size < _DRAIN_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                done = message["type"] == "http.disconnect" or not message.get("more_body", False)
    except TimeoutError:
        pass
    return done


def _declared_length(scope: Scope) -> int | None:
    """Content-Length; 0 if the request has no body; None if its length is not said (chunked)."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            return int(value)  # the HTTP parser refused anything but digits
    return 0
