"""The route and response of the notification stream: Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import asyncpg
import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from todo_api.dependencies import CurrentUser, Process, ProcessDep
from todo_api.openapi import problem_answer, problems
from todo_api.routing import Route
from todo_api.stream_registry import OpenStream, is_down
from todo_core import clock
from todo_core.errors import Unauthenticated
from todo_core.inbox.repository import LARGEST_SEQ

router = APIRouter(prefix="/notifications", tags=["notifications"], route_class=Route)

_PAGE = 100
_RETRY_MS = 2_000
_HEARTBEAT = b": still here\n\n"
_EXAMPLE = (
    f"retry: {_RETRY_MS}\nid: 41\n\n"
    'id: 42\nevent: notification\ndata: {"id":"01890000-0000-7000-8000-000000000002","kind":"reminder",'
    '"delivery_id":"5f2b8c1e-7d0a-4f3c-9a57-2f8f2b6f9a10","todo_id":"01890000-0000-7000-8000-000000000000",'
    '"title":"Buy milk","due_at":"2026-12-01T01:00:00Z","created_at":"2026-12-01T01:00:00.123456Z","read_at":null,'
    '"seq":42}\n\n: still here\n\n'
)
_log = structlog.get_logger(__name__)


class EventStream(Response):
    """One stream of events. It holds a page of events at most, and no connection to PostgreSQL or Redis."""

    media_type = "text/event-stream"

    def __init__(self, process: Process, stream: OpenStream, last: int, expires_at: float) -> None:
        # Not the base class's: that would say how long the body is.
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._process = process
        self._settings = process.settings.streams
        self._stream = stream
        self._stream.last = last
        self._expires_at = expires_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until it is over."""
        watching = asyncio.create_task(_watch(receive, self._stream))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    async with asyncio.timeout(self._settings.send_seconds):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    if "is_head" in scope["state"]:
                        break
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            # Not ended here, so that the server closes the connection: a client that does not read misses any end.
            _log.info("stream_not_read", user_id=str(self._stream.owner.id))
        finally:
            self._process.streams.close(self._stream)
            watching.cancel()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        # A client that is cut off before its first event resumes from here all the same.
        yield f"retry: {_RETRY_MS}\nid: {self._stream.last}\n\n".encode("ascii")
        while (reason := self._over()) is None:
            rows = await self._read()
            if rows:
                self._stream.last = rows[-1]["seq"]
                yield b"".join(map(_event, rows))
            if len(rows) == _PAGE:
                continue
            left = self._expires_at - clock.now().timestamp()
            if not await self._stream.rung(max(0.0, min(self._settings.heartbeat_seconds, left))):
                yield _HEARTBEAT
        yield f": {reason}\n\n".encode("ascii")

    def _over(self) -> str | None:
        if self._stream.ended is None and self._expires_at <= clock.now().timestamp():
            self._stream.end("token_expired")
        return self._stream.ended

    async def _read(self) -> list[asyncpg.Record]:
        try:
            rows = await self._process.inbox_reads.after(self._stream.owner, self._stream.last, _PAGE)
        except Exception as error:
            if not is_down(error):
                raise
            self._stream.rung_for = 0  # so that the poll rings again once it can
            return []
        if rows is None:
            self._stream.end("signed_out")
            return []
        return rows


def _event(row: asyncpg.Record) -> bytes:
    return b"id: %d\nevent: notification\ndata: %s\n\n" % (
        row["seq"],
        orjson.dumps(dict(row), option=orjson.OPT_UTC_Z),
    )


async def _watch(receive: Receive, stream: OpenStream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end("left")


@router.get(
    "/stream",
    status_code=200,  # OpenAPI would look for it in the signature of the response
    response_class=EventStream,
    summary="Notifications as they come",
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}}},
        **problems(401, 422),
        429: problem_answer("too_many_streams"),
    },
)
async def stream_notifications(
    request: Request,
    user: CurrentUser,
    process: ProcessDep,
    last_event_id: Annotated[
        int | None,
        Header(alias="Last-Event-ID", ge=0, le=LARGEST_SEQ, description="the `id` of the last event that was seen"),
    ] = None,
    last_seen: Annotated[
        int | None,
        Query(alias="last_event_id", ge=0, le=LARGEST_SEQ, description="the same, for clients that set no headers"),
    ] = None,
) -> EventStream:
    """Server-Sent Events: one `notification` for each, with its `seq` as its `id` and the notification as its `data`.

    Resumes after `Last-Event-ID` and never passes one over; without it, starts from now. The first event has an id and
    no data: keep the id, and whatever comes while you are away comes when you are back. Ends when the access token
    expires: connect again with the next. A comment every 15 seconds shows that it lives.

    A page such as Swagger UI shows nothing until the stream has ended, so do not press Execute: use
    `curl --no-buffer --header "Authorization: Bearer $TOKEN"` with this address. A browser's `EventSource` sets no
    headers: read the body of `fetch` instead.
    """
    heads = await process.inbox_reads.heads([user.id])
    if user.id not in heads or heads[user.id].auth_version != user.auth_version:
        raise Unauthenticated
    newest = heads[user.id].last_seq
    asked = last_event_id if last_event_id is not None else last_seen
    # Greater than the newest: of a database that has lost its last commits. What comes next would be passed over.
    last = newest if asked is None else min(asked, newest)
    _, _, token = request.headers["authorization"].partition(" ")
    expires_at = process.access_tokens.expires_at(token)
    return EventStream(process, process.streams.open(user), last, expires_at)
