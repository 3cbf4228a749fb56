"""Gunicorn's settings that no flag can give: a worker that loses no request when it stops, and bounds what comes."""

import asyncio
import socket
import sys
from typing import ClassVar

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

_DRAIN_SECONDS = 0.2


class DrainingServer(Server):
    """Reads what it has accepted before it stops.

    Uvicorn closes every connection that it has read no request from yet. Under load there always is one that was
    accepted in this very moment, and its request is lost. nginx sends the whole request as soon as it is connected,
    so a moment is enough to read it. (Its connections are not kept alive, so none of them is idle.)
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, read what was accepted, and only then stop."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await asyncio.sleep(_DRAIN_SECONDS)
        await super().shutdown(sockets)


class DrainingWorker(UvicornWorker):  # type: ignore[misc]
    """Uvicorn's worker for Gunicorn, with that server and the API's bounds on a request; it does not name itself."""

    CONFIG_KWARGS: ClassVar = {"loop": "auto", "http": "todo_api.protocol:BoundedHttp", "server_header": False}

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = DrainingServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


worker_class = DrainingWorker
