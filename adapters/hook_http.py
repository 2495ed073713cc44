"""`HookClient` over aiohttp: notifications to endpoints that anybody may have named.

The address that is called is checked where it is called: the name is resolved here, addresses that are not permitted are
dropped from what it leads to, and the connection is made to what is left. So a name that leads elsewhere when it is looked
up a second time gains nothing. Redirects are not followed, environment proxies not used, cookies not kept, and of an
answer only the head is read: its connection is closed unless the body is short and has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from yarl import URL

from adapters.checked_resolver import CheckedResolver, ForbiddenAddressError
from broker.core.hook_address import AddressRules
from broker.sync.hook_client import HookError, HookFailure, HookRequest

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_SHORT = 65_536  # bytes of an answer that are worth reading to keep its connection
_LONGEST_WAIT = 86_400.0


class HttpHookClient:
    """Made and closed inside a running event loop. `per_host`: connections to one endpoint at a time."""

    def __init__(self, rules: AddressRules, *, per_host: int = 8, user_agent: str = "cds-broker") -> None:
        self._rules = rules
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(rules),
            limit=256,
            limit_per_host=per_host,
            keepalive_timeout=30.0,
            ttl_dns_cache=60,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=_NO_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent},
            auto_decompress=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def post(self, request: HookRequest, *, timeout: float) -> int:  # noqa: ASYNC109 - one bound for all of it
        url = URL(request.url, encoded=True)
        # An address in the URL is not resolved, so nobody else would look at it. Read as it is when it is called.
        if url.host is None or not self._rules.permits_host(url.host):
            raise HookError(HookFailure.ADDRESS)
        # The boundary at which foreign errors become ours. Their texts hold URLs: only their kinds are kept.
        try:
            async with asyncio.timeout(timeout):
                status, retry_after = await self._posted(url, request)
        except TimeoutError:
            raise HookError(HookFailure.TIMEOUT) from None
        except aiohttp.ClientConnectorError as error:
            forbidden = isinstance(error.os_error, ForbiddenAddressError)
            kind = HookFailure.ADDRESS if forbidden else HookFailure.UNREACHABLE
            raise HookError(kind) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise HookError(HookFailure.UNREACHABLE) from None
        if not 200 <= status < 300:
            raise HookError(HookFailure.STATUS, status, retry_after)
        return status

    async def _posted(self, url: URL, request: HookRequest) -> tuple[int, float | None]:
        async with self._session.post(
            url,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
        ) as response:
            if response.content_length is not None and response.content_length <= _SHORT:
                await response.content.read(_SHORT)
            else:
                response.close()
            return response.status, _retry_after(response.headers)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; a date is not read: the endpoint's clock is not ours."""
    stated = headers.get("Retry-After", "").strip()
    if not (stated.isascii() and stated.isdigit()) or len(stated) > 9:
        return None
    return min(float(stated), _LONGEST_WAIT)
