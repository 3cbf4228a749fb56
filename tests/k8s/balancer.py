"""A load balancer in front of pods: TLS, kept connections, and no second try.

What it sends to a pod that cannot answer is a failed request. DNS tells it which pods there are, so that it changes
its mind as ALB does: for the next request, on whichever connection that comes.
"""

from __future__ import annotations

import asyncio
import struct
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

from tests.authority import Authority
from tests.k8s.engine import Cluster, Container, docker
from tests.worker_kit import eventually

IMAGE = "nginxinc/nginx-unprivileged:1.30-trixie"
_CONFIG = """\
worker_processes 1;
pid /tmp/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path /tmp/client;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    resolver {resolver} valid=1s ipv6=off;
    upstream api {{
        zone api 64k;
        server endpoints.test:8000 resolve max_fails=0;
        keepalive 32;
        keepalive_timeout 60s;
    }}
    server {{
        listen 8443 ssl;
        ssl_certificate /tls/server.pem;
        ssl_certificate_key /tls/server.key;
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off;
            proxy_read_timeout 1h;
            proxy_next_upstream off;
        }}
    }}
}}
"""


class Endpoints(asyncio.DatagramProtocol):
    """A name server that knows one name: the pods that are to get requests."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of the listener."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # in Python 3.11 it is none by its class

    def datagram_received(self, data: bytes, addr: tuple[str | None, int]) -> None:
        """Answer with every address, whatever was asked for."""
        assert self._transport is not None
        question = data[12 : data.index(0, 12) + 5]
        header = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(self.addresses), 0, 0)
        answers = [
            struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + IPv4Address(address).packed for address in self.addresses
        ]
        self._transport.sendto(header + question + b"".join(answers), addr)

    def close(self) -> None:
        """Listen no more."""
        if self._transport is not None:
            self._transport.close()


async def _is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


class Balancer:
    """A load balancer, and the pods that it sends requests to."""

    def __init__(self, cluster: Cluster, scratch: Path) -> None:
        self._cluster = cluster
        self._endpoints = Endpoints()
        self._id = ""
        self.ca = scratch / "balancer.pem"
        self.url = ""

    async def start(self, pods: list[Container]) -> None:
        """Serve."""
        self.lead_to(pods)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self._endpoints, (self._cluster.gateway, 0))
        address, port = transport.get_extra_info("sockname")
        authority = Authority("Balancer")
        self.ca.write_text(authority.pem)
        certificate, key = authority.issue("127.0.0.1")
        config = _CONFIG.format(resolver=f"{address}:{port}")
        files = [("server.pem", certificate), ("server.key", key), ("nginx.conf", config)]
        volume = await self._cluster.volume([(name, text.encode(), 0o444) for name, text in files])
        options = [f"--network={self._cluster.name}", "--publish=127.0.0.1::8443", "--read-only", "--tmpfs=/tmp"]
        options += [f"--volume={volume}:/tls:ro", "--entrypoint=nginx"]
        self._id = (
            await docker("run", "--detach", *options, IMAGE, "-c", "/tls/nginx.conf", "-g", "daemon off;")
        ).strip()
        address = (await docker("port", self._id, "8443")).strip()
        self.url = f"https://{address}"
        await eventually(lambda: _is_open(address))

    def lead_to(self, pods: list[Container]) -> None:
        """Send requests to these alone, as soon as it looks again."""
        self._endpoints.addresses = [pod.address for pod in pods]

    async def close(self) -> None:
        """Leave nothing."""
        self._endpoints.close()
        if self._id:
            await docker("rm", "--force", "--volumes", self._id)
