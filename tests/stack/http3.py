"""One request by HTTP/3, with the certificate verified."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


@dataclass
class Answer:
    """What came."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def status(self) -> int:
        """Its status."""
        return int(self.headers[":status"])


class _Client(QuicConnectionProtocol):
    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._http = H3Connection(self._quic)
        self._answer = Answer()
        self._ended = asyncio.Event()

    async def get(self, authority: str, path: str) -> Answer:
        """Ask, and wait for the whole answer."""
        stream_id = self._quic.get_next_available_stream_id()
        request = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": path}
        headers = [(name.encode(), value.encode()) for name, value in request.items()]
        self._http.send_headers(stream_id, headers, end_stream=True)
        self.transmit()
        await self._ended.wait()
        return self._answer

    def quic_event_received(self, event: QuicEvent) -> None:
        """Something came."""
        for happened in self._http.handle_event(event):
            if isinstance(happened, HeadersReceived):
                self._answer.headers |= {name.decode(): value.decode() for name, value in happened.headers}
            if isinstance(happened, DataReceived):
                self._answer.body += happened.data
            if isinstance(happened, HeadersReceived | DataReceived) and happened.stream_ended:
                self._ended.set()


async def get(port: int, path: str, ca: Path, seconds: float = 10) -> Answer:
    """GET a path from localhost.

    Raises:
        TimeoutError: nobody answers there.
    """
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, server_name="localhost")
    configuration.load_verify_locations(cafile=str(ca))
    async with asyncio.timeout(seconds):
        async with connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client:
            return await cast(_Client, client).get(f"localhost:{port}", path)
