"""The access token of one manager: kept while it is good, renewed before it expires, fetched once for all who wait.

- A request that finds a good token takes it and waits for nobody; a minute before its end, or after four fifths of a short
  life, a new one is fetched behind.
- One fetch is in flight at a time. Who waits for it does so within their own deadline; that they leave does not end it.
- After a failure nobody waits long for the next try: requests fail at once, or after a moment where a try is due, so that a
  token endpoint that hangs costs each search next to nothing. Tries are spaced, ever wider.
- A manager that refuses a token (401) is given a fresh one, once in `REFUSAL_PAUSE` seconds: one that refuses all of them
  must not have its token endpoint asked at each search.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from adapters.credentials.errors import CredentialsError
from adapters.credentials.token_endpoint import FIELD, AccessToken
from broker.ports import Clock

FETCH_SECONDS: Final = 5.0
REFUSAL_PAUSE: Final = 30.0

_RENEWED_AT = 0.8  # of its life
_MARGIN = 60.0  # seconds before its end, where that is later
_SKEW = 5.0  # seconds before its end from which it is not sent any more, or a tenth of a short life
_PATIENCE = 0.25  # seconds that are waited for a try after a failed one
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between tries

_log = logging.getLogger("broker.credentials")


@dataclass(frozen=True, slots=True)
class _Held:
    """`header`: as it is sent. Instants of the monotonic clock."""

    header: str = field(repr=False)
    renew_at: float
    good_until: float


class Tokens:
    """`fetch` raises `CredentialsError`. `name`: the manager's, for the log."""

    def __init__(self, clock: Clock, name: str, fetch: Callable[[], Awaitable[AccessToken]]) -> None:
        self._clock = clock
        self._name = name
        self._fetch = fetch
        self._held: _Held | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._trouble: CredentialsError | None = None
        self._pause = 0.0
        self._not_before = float("-inf")
        self._refused_at = float("-inf")

    @property
    def fetching(self) -> bool:
        return self._fetching is not None

    def current(self) -> str | None:
        """The `Authorization` header, where there is a good token."""
        held = self._held
        if held is None:
            return None
        now = self._clock.monotonic()
        if now >= held.renew_at:
            if now >= held.good_until:
                return None
            if self._fetching is None and now >= self._not_before:
                self._start()
        return held.header

    async def header(self) -> str:
        """The `Authorization` header, waited for where need be. Raises `CredentialsError`."""
        value = self.current()
        if value is not None:
            return value
        trouble = self._trouble
        if self._fetching is None:
            if trouble is not None and self._clock.monotonic() < self._not_before:
                raise trouble.again()
            self._start()
        if self._fetching is not None:
            await asyncio.wait({self._fetching}, timeout=None if trouble is None else _PATIENCE)
        value = self.current()
        if value is None:
            told = self._trouble or trouble
            raise CredentialsError(FIELD, "a token that has expired") if told is None else told.again()
        return value

    async def instead_of(self, refused: str) -> str | None:
        """A fresh header after the manager answered 401 to that one; None where there is none to try."""
        held = self._held
        if held is not None and held.header == refused:
            now = self._clock.monotonic()
            if now - self._refused_at < REFUSAL_PAUSE:
                return None
            self._refused_at, self._held = now, None
        fresh = await self.header()
        return None if fresh == refused else fresh

    async def aclose(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _start(self) -> None:
        self._fetching = asyncio.create_task(self._renew(), name=f"token of {self._name}")

    async def _renew(self) -> None:
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                token = await self._fetch()
        except TimeoutError:
            self._failed(CredentialsError(FIELD, "timeout"))
        except CredentialsError as error:
            self._failed(error)
        else:
            self._took(token, started)
        finally:
            self._fetching = None

    def _took(self, token: AccessToken, started: float) -> None:
        life = token.seconds
        renew = max(life * _RENEWED_AT, life - _MARGIN)
        good = life - min(_SKEW, life * 0.1)
        self._held = _Held(f"Bearer {token.value}", started + renew, started + good)
        if self._trouble is not None:
            _log.info("manager %s: its token endpoint is back", self._name)
        self._trouble, self._pause, self._not_before = None, 0.0, float("-inf")

    def _failed(self, error: CredentialsError) -> None:
        if self._trouble is None or self._trouble.detail != error.detail:
            _log.warning("manager %s: no access token: %s", self._name, error.detail)
        self._trouble = error
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._not_before = self._clock.monotonic() + self._pause
