"""A load balancer in front of pods: TLS, kept connections, and no second try.

What it sends to a pod that cannot answer is a failed request.
"""

from __future__ import annotations

from pathlib import Path

from tests.k8s.engine import Cluster, Container, docker
from tests.stack.authority import Authority

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
    # A reload closes idle connections just when somebody may send on them, unless it waits a moment.
    keepalive_min_timeout 3s;
    upstream api {{
        {servers}
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


class Balancer:
    """One, and the pods that it sends requests to."""

    def __init__(self, cluster: Cluster, scratch: Path) -> None:
        self._cluster = cluster
        self._ca = scratch / "balancer.pem"
        self._id = ""
        self.url = ""

    @property
    def ca(self) -> Path:
        """Whom clients trust."""
        return self._ca

    async def start(self, pods: list[Container]) -> None:
        """Serve."""
        authority = Authority("Balancer")
        self._ca.write_text(authority.pem)
        certificate, key = authority.issue("127.0.0.1")
        tls = await self._cluster.volume(
            [("server.pem", certificate.encode(), 0o444), ("server.key", key.encode(), 0o444)]
        )
        self._configuration = await self._cluster.volume([("nginx.conf", self._config(pods), 0o444)])
        mounts = [f"--volume={tls}:/tls:ro", f"--volume={self._configuration}:/configuration:ro", "--tmpfs=/tmp"]
        options = [f"--network={self._cluster.name}", "--publish=127.0.0.1::8443", "--read-only", *mounts]
        serve = ["--entrypoint=nginx", IMAGE, "-c", "/configuration/nginx.conf", "-g", "daemon off;"]
        self._id = (await docker("run", "--detach", *options, *serve)).strip()
        self.url = f"https://{(await docker('port', self._id, '8443')).strip()}"

    async def lead_to(self, pods: list[Container]) -> None:
        """Send new requests to these alone."""
        write = ["--entrypoint=tee", IMAGE, "/to/nginx.conf"]
        volume = f"--volume={self._configuration}:/to"
        await docker(
            "run", "--rm", "--interactive", "--user=0:0", "--network=none", volume, *write, stdin=self._config(pods)
        )
        await docker("exec", self._id, "nginx", "-c", "/configuration/nginx.conf", "-s", "reload")

    async def close(self) -> None:
        """Leave nothing."""
        if self._id:
            await docker("rm", "--force", "--volumes", self._id)

    def _config(self, pods: list[Container]) -> bytes:
        return _CONFIG.format(servers=" ".join(f"server {pod.address}:8000;" for pod in pods)).encode()
