"""Restricts webhooks to public addresses. The check runs when a connection is made, on the address that it is made to,
so a name that resolves differently the next time (DNS rebinding) does not get around it."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from todo_core.webhooks.addresses import Network, may_be_reached


class AddressRefused(OSError):
    """The address is not public and not on the list of exceptions. An OSError, as connecting raises."""


class Guard:
    """Decides which addresses may be connected to."""

    def __init__(self, exceptions: Sequence[Network]) -> None:
        self._exceptions = tuple(exceptions)

    def allows(self, text: str) -> bool:
        """Tell whether this IP address may be connected to."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return may_be_reached(address, self._exceptions)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Open a socket for one address (as `getaddrinfo` describes it), if it may be connected to.

        Raises:
            AddressRefused: the address may not be connected to.
        """
        family, kind, protocol, _, address = info
        if not self.allows(address[0]):
            raise AddressRefused("the address is not public")
        return socket.socket(family, kind, protocol)
