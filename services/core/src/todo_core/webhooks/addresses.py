"""Decides which addresses a webhook may reach: public ones, and the exceptions in the settings."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Networks that are global in the tables of some Python release, but hold no hosts on the internet.
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
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
    )
)
_GLOBAL_UNICAST = ip_network("2000::/3")
"""The IPv6 range of hosts on the internet. Addresses outside are local, special, or an old form of an IPv4 address
(IPv4-compatible, IPv4-translated, the NAT64 of a local network)."""
_PASSED_ON = (ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96"))
"""IPv4-mapped addresses and NAT64: packets arrive at the IPv4 address in the last bits."""
_6TO4 = ip_network("2002::/16")
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}
"""The bits before the IPv4 address in an ISATAP interface identifier (RFC 5214)."""


def may_be_reached(address: Address, exceptions: Collection[Network]) -> bool:
    """Tell whether a webhook may reach an address. An IPv4 address inside an IPv6 one must be allowed as well."""
    inner = _inner(address)
    candidates = (address,) if inner is None else (address, inner)
    if any(candidate in network for candidate in candidates for network in exceptions):
        return True
    if inner is not None and not _is_public(inner):
        return False
    return _is_public(address) or any(address in network for network in _PASSED_ON)


def _inner(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    if address in _6TO4:
        return IPv4Address(number >> 80 & 0xFFFF_FFFF)
    if any(address in network for network in _PASSED_ON) or number >> 32 & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(number & 0xFFFF_FFFF)
    return None


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST)
        and not any(address in network for network in _NOT_PUBLIC)
    )
