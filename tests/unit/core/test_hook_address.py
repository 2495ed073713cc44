"""Which addresses notifications may be posted to."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from broker.core.hook_address import LOOPBACK, AddressRules

PUBLIC = AddressRules()

INSIDE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "168.63.129.16",
    "fd00:ec2::254",
    "192.0.2.7",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fc00::1",
    "fe80::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "2002:0a00:0001::1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_the_inside_is_not_called(address: str) -> None:
    assert not PUBLIC.permits(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert not PUBLIC.permits_url(f"https://{host}:8443/hook")


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_public_addresses_are_called(address: str) -> None:
    assert PUBLIC.permits(ip_address(address))


def test_what_the_operator_allows_is_called() -> None:
    rules = AddressRules((*LOOPBACK, ip_network("10.20.0.0/16")))
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.20.3.4", "93.184.216.34"):
        assert rules.permits(ip_address(address))
    for address in ("10.21.0.1", "169.254.169.254", "fe80::1"):
        assert not rules.permits(ip_address(address))


def test_names_of_this_machine_are_known() -> None:
    for host in ("localhost", "LOCALHOST.", "hooks.localhost"):
        assert not PUBLIC.permits_host(host)
        assert AddressRules(LOOPBACK).permits_host(host)
    assert PUBLIC.permits_host("hooks.example"), "where it leads is seen when it is called"


@pytest.mark.parametrize("url", ["", "https://", "https:///x", "https://[::1", "nothing"])
def test_what_is_no_address_is_not_called(url: str) -> None:
    assert not PUBLIC.permits_url(url)
