"""HTTP towards the issuer of tokens: bounded in time and size, to permitted addresses, encrypted, never redirected.

The issuer's own documents name further addresses (`jwks_uri`): those are held to the same rules as what the operator wrote.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from yarl import URL

from adapters.checked_resolver import CheckedResolver
from broker.core.hook_address import AddressRules
from broker.errors import ConfigurationError

MAX_BYTES = 262_144
"""Of a document of the issuer: hundreds of keys."""

_SECONDS = 5.0  # for a whole exchange
_REFUSALS = (400, 401)
_AT_ONCE = 16  # exchanges; more wait their turn, within that time

Answer = tuple[int, bytes]


class IssuerError(Exception):
    """The issuer gave no usable answer. `reason`: a word for the log, nothing of what was sent or received."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class IssuerHttp:
    """Made and closed inside a running event loop. `authorities`: a PEM file of who vouches for the issuer's server; None:
    the system's. Raises `ConfigurationError` where that file is no such thing."""

    def __init__(
        self, rules: AddressRules, *, authorities: Path | None = None, seconds: float = _SECONDS
    ) -> None:
        self._rules = rules
        self._seconds = seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=CheckedResolver(rules), ssl=_tls(authorities), limit=_AT_ONCE, keepalive_timeout=30.0
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "cds-broker", "Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def get(self, url: str) -> bytes:
        """The body of a 200. Raises `IssuerError`."""
        _, body = await self._exchanged("GET", url)
        return body

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        """The body of a 200. Raises `IssuerError`."""
        _, body = await self._exchanged("POST", url, form, headers)
        return body

    async def ask(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Status and body of what a token endpoint answers, refusals too (RFC 6749, section 5.2). Raises `IssuerError`."""
        return await self._exchanged("POST", url, form, headers, _REFUSALS)

    async def _exchanged(
        self,
        method: str,
        url: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        also: Collection[int] = (),
    ) -> Answer:
        # The boundary at which foreign errors become ours. Their texts hold URLs: only their kinds are kept.
        try:
            address = self._permitted(url)
            async with (
                asyncio.timeout(self._seconds),
                self._session.request(
                    method, address, data=form, headers=headers, allow_redirects=False
                ) as response,
            ):
                return response.status, await _body(response, also)
        except TimeoutError:
            raise IssuerError("timeout") from None
        except aiohttp.ClientConnectorError as error:
            raise IssuerError(type(error.os_error).__name__) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise IssuerError(type(error).__name__) from None

    def _permitted(self, text: str) -> URL:
        url = URL(text)
        if url.host is None or url.user is not None or not self._rules.permits_host(url.host):
            raise IssuerError("address not permitted")
        if url.scheme != "https" and not (url.scheme == "http" and is_this_machine(url.host)):
            raise IssuerError("not https")
        return url


async def _body(response: aiohttp.ClientResponse, also: Collection[int]) -> bytes:
    if response.status != 200 and response.status not in also:
        response.close()
        raise IssuerError(f"status {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        response.close()
        raise IssuerError("content coding")
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > MAX_BYTES:
            response.close()
            raise IssuerError("too large")
    return bytes(parts)


def is_this_machine(host: str) -> bool:
    """By its name or address, as it stands in a URL."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(authorities: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError("config.file", setting="CDS_OIDC_TLS_CA", reason=reason) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
