"""uvicorn's HTTP/1.1 protocol, with bounds on the head of a request and on the time that it takes to come.

By itself uvicorn collects megabytes of headers and waits for them without an end. Whatever starts the server names
this class (`--http todo_api.protocol:BoundedHttp`). Behind nginx, whose own bounds are narrower, it has nothing to do.
"""

import asyncio
import uuid
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from todo_api.problems import problem

HEAD_BYTES = 32 * 1024
"""The request line and the headers: as much as nginx's `large_client_header_buffers 4 8k` lets through."""
HEAD_FIELDS = 100
HEAD_SECONDS = 15.0
"""From a connection, or from the first byte of its next request, to the end of the headers."""
PIPELINED_REQUESTS = 16
"""Those that a connection may send before the first of them is answered."""

CONNECTIONS = 2_048
"""Of one process, twice the streams that it serves; each may hold HEAD_BYTES. Beyond, a new one is closed."""

_LINGER_SECONDS = 3.0
_QUIET_SECONDS = 10.0
"""A flood of connections leaves one line in so many seconds."""
_SLICE = 16 * 1024
"""Bytes parsed at a time: a read has up to 256 KiB, and the rest of it need not be parsed once a bound is broken."""


class _Refused(Exception):
    """Ends the parser's work: the request breaks a bound."""


class BoundedHttp(HttpToolsProtocol):
    """Answers 431 to a head that is too large and 408 to one that takes too long, and closes the connection."""

    _refused_at: ClassVar[float] = float("-inf")
    """The time of the last line about connections that were closed, of all of this process."""
    _refusal: tuple[str, int] | None = None
    """The code and the status that the connection ends with."""
    _deadline: asyncio.TimerHandle | None = None
    _has_begun = False
    _in_head = True
    _parsed = 0
    """Bytes of the head that the parser has handed over."""
    _unparsed = 0
    """Bytes since the parser last had something: it hands over a header once it is whole."""
    _progress = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            if self.loop.time() - BoundedHttp._refused_at > _QUIET_SECONDS:
                BoundedHttp._refused_at = self.loop.time()
                self.logger.warning("Connections are closed: %d are open already.", CONNECTIONS)
            return
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and refuse what breaks a bound."""
        for start in range(0, len(data), _SLICE):
            if self._refusal is not None or self.transport.is_closing():
                return
            part = data if len(data) <= _SLICE else data[start : start + _SLICE]
            self._progress = False
            super().data_received(part)
            self._unparsed = 0 if self._progress else self._unparsed + len(part)
            if self._unparsed > HEAD_BYTES and self._refusal is None:
                self._refuse("headers_too_large", 431)
        if self._refusal is None:
            if self._in_head or self._unparsed:
                self._set_deadline()
            elif self._deadline is not None:
                self._clear_deadline()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._has_begun = self._in_head = self._progress = True
        self._parsed = 0

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: uvicorn keeps both in one list."""
        self._count(len(name) + len(value) + len(b": \r\n"))
        if len(self.headers) >= HEAD_FIELDS:
            self._refusal = "headers_too_large", 431
            raise _Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the request can be served."""
        self._in_head = False
        self._progress = True
        if len(self.pipeline) >= PIPELINED_REQUESTS:
            self._refusal = "http_error", 400
            raise _Refused
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body; `BodyLimit` bounds its size and its time."""
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._progress = True
        super().on_message_complete()

    def send_400_response(self, _: str) -> None:
        """Refuse what the parser does not take, or what one of the methods above has ended its work for."""
        self._refuse(*(self._refusal or ("http_error", 400)))

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, and cut off one whose client has not read the answer yet."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _count(self, size: int) -> None:
        self._parsed += size
        if self._parsed > HEAD_BYTES:
            self._refusal = "headers_too_large", 431
            raise _Refused

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, "request_timeout", 408)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, code: str, status: int) -> None:
        """Answer, read no more, and close: once the client has, or after a moment, so that it can read the answer."""
        self._refusal = code, status
        self._clear_deadline()
        if self.transport.is_closing():
            return
        is_answering = not getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request
        if not self._has_begun or is_answering or not self.transport.can_write_eof():
            self.transport.close()  # there is no request to answer, or another's answer is on its way
            return
        request_id = uuid.uuid4().hex
        self.logger.warning("Refused a request: %d %s, request_id %s.", status, code, request_id)
        answer = problem(
            {"headers": self.headers, "state": {"request_id": request_id}},
            code,
            status=status,
            params={"bytes": HEAD_BYTES, "fields": HEAD_FIELDS},
            headers={"Connection": "close", "X-Request-Id": request_id},
        )
        head = [*self.server_state.default_headers, *answer.raw_headers]
        lines = b"".join(b"%b: %b\r\n" % header for header in head)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + bytes(answer.body))
        # Closed at once, with something left to read, the connection would be reset, and the answer lost on its way.
        self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
