"""Where the broker may be made to call: public addresses, and what the operator allows beside them. Pure.

It holds for notifications, and for managers, their token endpoints and the issuer of tokens.
Whoever registers a subscription names an address that the broker will then call from inside its network. Without bounds it
could be made to call what only the inside can reach (server-side request forgery). So an endpoint whose address is not
public (RFC 6890: private, loopback, link-local, shared, documentation, multicast…) is refused, at registration where the
address is in the URL, and in any case at each connection, for the address that the name really led to.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

_NAT64: Final = ip_network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_SHARED: Final = ip_network("100.64.0.0/10")  # RFC 6598
_PLATFORM: Final = ip_address("168.63.129.16")  # public in form: what Azure answers its virtual machines with


@dataclass(frozen=True, slots=True)
class AddressRules:
    """`allowed`: networks that may be called although they are not public."""

    allowed: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        """Whether a connection may be made to it."""
        plain = _unwrapped(address)
        if any(plain in network for network in self.allowed if network.version == plain.version):
            return True
        special = plain.is_multicast or plain.is_reserved or plain in _SHARED or plain == _PLATFORM
        return plain.is_global and not special

    def permits_host(self, host: str) -> bool:
        """What can be said of a host before its name is resolved: an address, or a name of this machine."""
        try:
            return self.permits(ip_address(host.strip("[]").partition("%")[0]))
        except ValueError:
            local = host.rstrip(".").lower()
            if local == "localhost" or local.endswith(".localhost"):
                return self.permits(IPv4Address("127.0.0.1")) or self.permits(IPv6Address("::1"))
            return True

    def permits_url(self, url: str) -> bool:
        """The same of a URL's host."""
        try:
            host = urlsplit(url).hostname
        except ValueError:
            return False
        return host is not None and self.permits_host(host)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
