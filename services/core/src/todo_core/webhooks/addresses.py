"""Which addresses a webhook may reach: public ones, and those that the settings make an exception for."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

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
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
    )
)
_GLOBAL_UNICAST = ip_network("2000::/3")
"""All of IPv6 that hosts on the internet have. What lies outside is local, special, or an old form of an IPv4 address
(IPv4-compatible, IPv4-translated, the NAT64 of a local network)."""
_PASSED_ON = (ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96"))
"""IPv4-mapped addresses and NAT64: what is sent there arrives at the IPv4 address in the last bits."""
_6TO4 = ip_network("2002::/16")
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}
"""What stands before the IPv4 address in an interface's half of any network (RFC 5214)."""


def may_be_reached(address: Address, exceptions: Collection[Network]) -> bool:
    """Whether a webhook may go to an address. An IPv4 address that an IPv6 one holds has to be allowed as well."""
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
