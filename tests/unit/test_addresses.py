"""Which addresses a webhook may reach."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo_core.webhooks.service import leads_inside
from todo_worker.addresses import AddressRefused, Guard

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # where clouds keep a machine's own credentials
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",  # Teredo
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.0.1", "2606:4700::1111",
          "2a00:1450:4001::200e", "64:ff9b::808:808", "::ffff:8.8.8.8"]  # fmt: skip


IPV4 = [address for address in PRIVATE if ":" not in address]
FORMS: dict[str, Callable[[int], int]] = {
    "IPv4-mapped": lambda number: 0xFFFF << 32 | number,
    "IPv4-compatible": lambda number: number,
    "IPv4-translated": lambda number: 0xFFFF << 48 | number,
    "NAT64": lambda number: 0x64_FF9B << 96 | number,
    "NAT64 of a local network": lambda number: 0x64_FF9B_0001 << 80 | number,
    "NAT64 of a local network, /48": lambda number: (
        0x64_FF9B_0001 << 80 | (number >> 16) << 64 | (number & 0xFFFF) << 40  # RFC 6052, 2.2
    ),
    "6to4": lambda number: 0x2002 << 112 | number << 80 | 1,
    "Teredo": lambda number: 0x2001_0000 << 96 | number << 64 | 0xFFFF_FFFF ^ number,
    "ISATAP": lambda number: 0x2606_4700_0000_0001 << 64 | 0x5EFE << 32 | number,
    "ISATAP, unique": lambda number: 0x2606_4700_0000_0001 << 64 | 0x0200_5EFE << 32 | number,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("address", IPV4)
def test_a_private_ipv4_address_is_refused_in_every_form(address: str, form: str) -> None:
    text = str(IPv6Address(FORMS[form](int(IPv4Address(address)))))
    assert not Guard([]).allows(text)
    assert leads_inside(f"https://[{text}]/hook", [])


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not Guard([]).allows(address)
    assert leads_inside(f"https://[{address}]/" if ":" in address else f"https://{address}/", [])


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_allowed(address: str) -> None:
    assert Guard([]).allows(address)
    assert not leads_inside(f"https://[{address}]/" if ":" in address else f"https://{address}/", [])


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "1.1.1.1.1", "::1::"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not Guard([]).allows(text)


def test_exceptions_open_their_networks_and_no_other() -> None:
    guard = Guard([ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")])
    assert [guard.allows(text) for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5")] == [True] * 3
    assert [guard.allows(text) for text in ("10.2.0.1", "127.0.0.1", "fd00:2::5", "::ffff:10.2.0.1")] == [False] * 4


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_in_another_dress_is_the_same_address(address: IPv4Address) -> None:
    guard = Guard([])
    number = int(address)
    for dress in (0xFFFF << 32 | number, 0x64_FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert guard.allows(str(IPv6Address(dress))) <= guard.allows(str(address))


@given(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "fc00::/7", "fe80::/10"]), st.data())
def test_no_address_of_a_private_network_is_allowed(network: str, data: st.DataObject) -> None:
    parsed = ip_network(network)
    address = parsed[data.draw(st.integers(0, parsed.num_addresses - 1))]
    assert not Guard([]).allows(str(address))


def test_no_socket_is_opened_to_an_address_that_is_refused() -> None:
    with pytest.raises(AddressRefused):
        Guard([]).open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    opened = Guard([]).open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 80)))
    opened.close()
