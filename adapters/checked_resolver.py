"""Names looked up where they are called: what a name leads to is checked, and the connection made to what is left.

So a name that leads elsewhere when it is looked up a second time gains nothing. An address that stands in a URL is not
looked up: `AddressRules.permits_host` is asked of it before.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from broker.core.hook_address import AddressRules


class ForbiddenAddressError(OSError):
    """All that a name leads to may not be called."""


class CheckedResolver(AbstractResolver):
    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        permitted = [one for one in found if self._rules.permits(ip_address(one["host"].partition("%")[0]))]
        if not permitted:
            raise ForbiddenAddressError
        return permitted

    async def close(self) -> None:
        await self._resolver.close()
