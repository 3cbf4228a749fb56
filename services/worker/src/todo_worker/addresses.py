"""Which addresses a webhook may reach: public ones. Checked when the connection is made, on the very address that it is
made to, so that a name that resolves to something else the next time gains nothing."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from todo_core.webhooks.addresses import Network, may_be_reached


class AddressRefused(OSError):
    """Not a public address, and not on the list of exceptions. An OSError, as connecting raises."""


class Guard:
    """Says which addresses may be connected to."""

    def __init__(self, exceptions: Sequence[Network]) -> None:
        self._exceptions = tuple(exceptions)

    def allows(self, text: str) -> bool:
        """Whether this address, as it stands, may be connected to."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return may_be_reached(address, self._exceptions)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The socket for one address (as `getaddrinfo` describes it), if it may be connected to.

        Raises:
            AddressRefused: it may not.
        """
        family, kind, protocol, _, address = info
        if not self.allows(address[0]):
            raise AddressRefused("the address is not public")
        return socket.socket(family, kind, protocol)
