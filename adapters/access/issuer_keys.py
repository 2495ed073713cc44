"""The issuer's keys, kept in memory: fetched in the background, and at once where a token names one that is not there.

An issuer out of reach stops nobody for as long as its keys are not too old; too old, a key that it has withdrawn might be
among them. Who sends tokens with made-up key names makes the broker ask once in a while, not once for each.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

import msgspec

from adapters.access.issuer_http import IssuerError, IssuerHttp
from adapters.access.keys import Key, KeySet, read_keys
from broker.core.access.challenge import refused
from broker.core.access.described import IssuerTold
from broker.errors import AccessError
from broker.ports import Clock

REFRESH_SECONDS: Final = 300.0
ASK_AGAIN_SECONDS: Final = 10.0
"""Between two fetches over keys that are not there."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_WAIT = 2.0  # seconds that a request waits for a fetch

_ADDRESS = re.compile(r"https?://[\x21-\x7e]{1,2000}")

_log = logging.getLogger("broker.access")


class _Discovered(msgspec.Struct, frozen=True):
    """Of OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    jwks_uri: str


class _Told(msgspec.Struct, frozen=True):
    """What the same document says to clients; whatever of it is missing or odd, the keys are good all the same."""

    token_endpoint: str | None = None
    authorization_endpoint: str | None = None
    introspection_endpoint: str | None = None
    revocation_endpoint: str | None = None
    grant_types_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()


class IssuerKeys:
    """`jwks_url`: None where the issuer is to say. `max_age`: seconds for which keys are good when no newer can be had."""

    def __init__(
        self,
        http: IssuerHttp,
        clock: Clock,
        issuer: str,
        jwks_url: str | None = None,
        *,
        max_age: float,
        ask_again: float = ASK_AGAIN_SECONDS,
    ) -> None:
        self._http = http
        self._clock = clock
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._max_age = max_age
        self._ask_again = ask_again
        self.told = IssuerTold(jwks_uri=jwks_url)
        self._keys = KeySet()
        self._fetched: float | None = None
        self._asked: float | None = None
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, alg: str) -> Key:
        """Raises `AccessError`: 401 where the issuer has no such key, 503 where that cannot be known."""
        if not self._good:
            await self._refreshed()
            if not self._good:
                raise AccessError("access.keys")
        key = self._keys.find(kid, alg)
        if key is None:
            await self._refreshed()
            key = self._keys.find(kid, alg)
        if key is None:
            raise AccessError("access.keys") if self._failing else refused("access.signature")
        return key

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            await asyncio.wait([self._fetch()])
            if self._failing:
                await self._clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                await self._clock.sleep(min(REFRESH_SECONDS, self._max_age / 2))

    async def aclose(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    @property
    def _good(self) -> bool:
        return self._fetched is not None and self._clock.monotonic() - self._fetched <= self._max_age

    async def _refreshed(self) -> None:
        """Wait for a fetch that is on its way; begin one where the last was not just now."""
        recent = self._asked is not None and self._clock.monotonic() - self._asked < self._ask_again
        if self._fetching is not None or not recent:
            self._asked = self._clock.monotonic()
            await asyncio.wait([self._fetch()], timeout=_WAIT)

    def _fetch(self) -> asyncio.Task[None]:
        """One at a time, whoever wants it; a request that is given up does not take it along."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetched_now())
            self._fetching.add_done_callback(self._done)
        return self._fetching

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetched_now(self) -> None:
        try:
            url = self._jwks_url or await self._discovered()
            keys = read_keys(await self._http.get(url))
        except (IssuerError, ValueError) as error:
            if not self._failing:
                _log.warning("keys of the issuer could not be fetched: %s", error)
            self._failing = True
            return
        if self._failing or self._fetched is None:
            _log.info("keys of the issuer: %d", len(keys.keys))
        self._keys, self._failing, self._fetched = keys, False, self._clock.monotonic()

    async def _discovered(self) -> str:
        body = await self._http.get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            found = msgspec.json.decode(body, type=_Discovered)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise IssuerError("unreadable discovery document") from None
        if found.issuer != self._issuer:  # section 4.3: identical, or it speaks for somebody else
            raise IssuerError("discovery document of another issuer")
        self.told = _told(body, found.jwks_uri)
        return found.jwks_uri


def _told(body: bytes, jwks_uri: str) -> IssuerTold:
    try:
        told = msgspec.json.decode(body, type=_Told)
    except msgspec.ValidationError:
        return IssuerTold(jwks_uri=jwks_uri)
    return IssuerTold(
        jwks_uri=jwks_uri,
        token_endpoint=_address(told.token_endpoint),
        authorization_endpoint=_address(told.authorization_endpoint),
        introspection_endpoint=_address(told.introspection_endpoint),
        revocation_endpoint=_address(told.revocation_endpoint),
        grant_types=told.grant_types_supported,
        challenge_methods=told.code_challenge_methods_supported,
        client_methods=told.token_endpoint_auth_methods_supported,
    )


def _address(text: str | None) -> str | None:
    """Passed on to clients: nothing but an address."""
    return text if text is not None and _ADDRESS.fullmatch(text) else None
