"""Addresses of the API: to listen on, and to open on this machine."""

from __future__ import annotations

import errno
import os
import socket

from dev.processes import ServerError

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - named, not bound


def origin(host: str, port: int) -> str:
    """Return the address to open in a browser on this machine."""
    host = EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def running_origin() -> str:
    """Return the address of a `make run` by HOST and PORT, as it reads them itself.

    Raises:
        ServerError: PORT is not a port.
    """
    return origin(os.environ.get("HOST") or "127.0.0.1", read_port(os.environ.get("PORT") or "8000"))


def read_port(text: str) -> int:
    """Return the port that the text names.

    Raises:
        ServerError: it names none.
    """
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ServerError(f"PORT={text} is not a port. For example: PORT=8001")
    return int(text)


def check_port(host: str, text: str) -> int:
    """Return the port, if the text is a port and it is free.

    Raises:
        ServerError: with a sentence about what to do instead.
    """
    port = read_port(text)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Two sockets with SO_REUSEADDR can bind it; only one can listen.
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"Port {port} is in use by another program. Choose another: PORT={port + 1} make run"
        elif error.errno == errno.EACCES:
            message = f"Port {port} is reserved for root. Choose one above 1023: PORT=8000 make run"
        else:
            message = (
                f"HOST={host} is no address of this machine ({error.strerror}). For example: HOST=0.0.0.0 make run"
            )
        raise ServerError(message) from error
    return port
