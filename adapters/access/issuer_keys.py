"""The issuer's keys, kept in memory: fetched in the background, and at once where a token names one that is not there.

An issuer out of reach stops nobody for as long as its keys are not too old; too old, a key that it has withdrawn might be
among them. Who sends tokens with made-up key names makes the broker ask once in a while, not once for each.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from adapters.access.discovery import discovered
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

_log = logging.getLogger("broker.access")


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
        self.told = await discovered(self._http, self._issuer)
        return self.told.jwks_uri or ""
