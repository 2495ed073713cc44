"""Who is at the other end of a connection: the client itself, or a proxy that speaks for it.

A proxy is believed by its address, and only as `CDS_TRUSTED_PROXIES` names it: then its header holds the client's
certificate, which it has verified, and `X-Forwarded-For` the client's address. Of anybody else these headers are ignored. A
proxy's own certificate is never taken for a client's.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote

from aiohttp import web

from broker.core.access.certificates import der_of_pem
from broker.core.access.challenge import refused

MAX_HEADER = 32_768
"""Characters of a certificate in a header."""

_MAX_FORWARDED = 32


@dataclass(frozen=True, slots=True)
class Peers:
    """`proxies`: networks of those that are believed. `certificate_header`: of theirs."""

    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    certificate_header: str = "X-SSL-Client-Cert"

    def certificate(self, request: web.Request) -> bytes | None:
        """The client's certificate, DER; None where it showed none. Raises `AccessError` where a proxy gives no readable
        one."""
        if not self.speaks_for_others(request):
            tls = _tls(request)
            return None if tls is None else tls.getpeercert(binary_form=True)
        given = request.headers.getall(self.certificate_header, [])
        if not any(given):  # proxies send it empty where the client showed none
            return None
        if len(given) > 1 or len(given[0]) > MAX_HEADER:
            raise refused("access.certificate")
        try:
            return der_of_pem(unquote(given[0]))
        except ValueError:
            raise refused("access.certificate") from None

    def is_secure(self, request: web.Request) -> bool:
        """Whether nobody on the way could read along: TLS, a proxy that ended it, or this machine."""
        return _tls(request) is not None or self.speaks_for_others(request) or _is_loopback(_address(request))

    def address(self, request: web.Request) -> str:
        """The client's address: behind trusted proxies the last one that they did not add themselves."""
        nearest = _address(request)
        if not self.is_proxy(nearest):
            return nearest
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
        for hop in reversed(forwarded.split(",")[-_MAX_FORWARDED:]):
            named = hop.strip()
            if not _is_address(named):
                break
            nearest = named
            if not self.is_proxy(named):
                break
        return nearest

    def speaks_for_others(self, request: web.Request) -> bool:
        """Whether the connection is a trusted proxy's."""
        return bool(self.proxies) and self.is_proxy(_address(request))

    def is_proxy(self, address: str) -> bool:
        """Whether an address is that of a trusted proxy."""
        if not self.proxies or not address:
            return False
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self.proxies if network.version == parsed.version)


def _tls(request: web.Request) -> ssl.SSLObject | None:
    transport = request.transport
    tls: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
    return tls


def _address(request: web.Request) -> str:
    """Of the other end of the connection: never what a header says."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
