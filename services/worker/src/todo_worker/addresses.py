"""Which addresses a webhook may reach: public ones. Checked when the connection is made, on the very address that it is
made to, so that a name that resolves to something else the next time gains nothing."""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from todo_core.settings.delivery import Network

# What Python's own tables call global, or called so in some release, and is not a host on the internet.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "64:ff9b:1::/48",  # NAT64 of a local network
        "100::/64",
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",  # site-local, as it once was
        "ff00::/8",
    )
)
_NAT64 = ip_network("64:ff9b::/96")
_6TO4 = ip_network("2002::/16")


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
        return self._is_exception(address) or all(_is_public(each) for each in (address, *_embedded(address)))

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The socket for one address (as `getaddrinfo` describes it), if it may be connected to.

        Raises:
            AddressRefused: it may not.
        """
        family, kind, protocol, _, address = info
        if not self.allows(address[0]):
            raise AddressRefused("the address is not public")
        return socket.socket(family, kind, protocol)

    def _is_exception(self, address: IPv4Address | IPv6Address) -> bool:
        candidates = (address, *_embedded(address))
        return any(
            candidate.version == network.version and candidate in network
            for candidate in candidates
            for network in self._exceptions
        )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not any(address.version == network.version and address in network for network in _NOT_PUBLIC)
    )


def _embedded(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 address that an IPv6 one leads to."""
    if isinstance(address, IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address in _6TO4:
        return (IPv4Address(int(address) >> 80 & 0xFFFF_FFFF),)
    if int(address) >> 32 == 0:  # IPv4-compatible, long obsolete
        return (IPv4Address(int(address)),)
    return ()
