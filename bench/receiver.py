"""`python -m bench.receiver PORT`: a receiver of webhooks that answers at once, as cheaply as Python can.

A path that begins with /hang is accepted and not answered, until `POST /release`; `POST /hold` has it hang again.
`GET /count` says how many webhooks came to the other paths.
"""

import asyncio
import sys
from typing import cast

import uvloop

_OK = b"HTTP/1.1 204 No Content\r\n\r\n"
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class _Receiver:
    """What all connections share."""

    def __init__(self) -> None:
        self.count = 0
        self.holding = True
        self.held: list[asyncio.Transport] = []

    def release(self) -> None:
        """Answer those that wait, and those that come from now on."""
        self.holding = False
        for transport in self.held:
            if not transport.is_closing():
                transport.write(_OK)
        self.held.clear()


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: _Receiver) -> None:
        self._receiver = receiver
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop says so in its documentation, not in its classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(_HEAD_END)) >= 0:
            head = self._received[:end]
            whole = end + len(_HEAD_END) + _length_of_body(head)
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        assert self._transport is not None
        receiver = self._receiver
        if path.startswith(b"/hang") and receiver.holding:
            receiver.held.append(self._transport)
            return
        if path == b"/count":
            body = str(receiver.count).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            return
        if path == b"/release":
            receiver.release()
        elif path == b"/hold":
            receiver.holding = True
        elif not path.startswith(b"/hang"):
            receiver.count += 1
        self._transport.write(_OK)


def _length_of_body(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[: len(_LENGTH)].lower() == _LENGTH:
            return int(line[len(_LENGTH) :])
    return 0


async def _serve(port: int) -> None:
    receiver = _Receiver()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(receiver), "127.0.0.1", port, backlog=1_024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
