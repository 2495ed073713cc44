"""Signing in: a browser is sent to the issuer, comes back with a code, and has a session.

What ties the two ends together (`Pending`) is sealed and kept by the browser alone, and serves once: nobody who did not
begin a sign-in in that browser can end it there.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from binascii import Error
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.access.authenticator import Presented
from broker.access.identification import Identification
from broker.access.ports import Provider
from broker.access.sessions import Sessions
from broker.core.access.principal import Principal
from broker.core.access.sign_in import (
    PENDING_SECONDS,
    Pending,
    Registration,
    Returned,
    authorization_url,
    check_returned,
    page_of,
    sign_out_url,
)
from broker.core.sealing import Sealer
from broker.errors import AccessError, RequestError
from broker.ports import Clock, Leases

_PURPOSE: Final = "console sign-in"
_MAX_SEALED = 4_096
_MAX_HINT = 4_096  # characters of an ID token in an address; longer ones do not get through everywhere


@dataclass(frozen=True, slots=True)
class Begun:
    """`url`: where the browser goes. `state`: names the sign-in. `sealed`: what the browser keeps of it."""

    url: str
    state: str
    sealed: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`name`: of the session, for the browser alone. `page`: that was asked for."""

    name: str
    principal: Principal
    page: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """`signed_out`: address of the page that the issuer sends people back to who signed out."""

    registration: Registration
    provider: Provider
    identification: Identification
    sessions: Sessions
    sealer: Sealer
    leases: Leases
    clock: Clock
    signed_out: str

    async def begin(self, page: str) -> Begun:
        """Raises `AccessError` (503) where the issuer does not say how people sign in."""
        door = await self.provider.door()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        pending = Pending(state, nonce, verifier, page_of(page), self._now() + PENDING_SECONDS)
        sealed = self.sealer.seal(_PURPOSE, msgspec.json.encode(pending), context=self._context())
        kept = base64.urlsafe_b64encode(sealed).decode("ascii").rstrip("=")
        return Begun(authorization_url(door.sign_in, self.registration, pending), state, kept)

    async def finish(self, returned: Returned, sealed: str | None, presented: Presented) -> SignedIn:
        """`sealed`: what the browser kept. Raises `AccessError`, `RequestError`, `StoreError`."""
        pending = self._opened(sealed)
        if pending is None:
            raise RequestError("console.login-state")
        door = await self.provider.door()
        code = check_returned(
            returned, pending, self._now(), self.registration.issuer, promised=door.names_itself
        )
        used = hashlib.sha256(pending.state.encode()).hexdigest()
        if not await self.leases.take(f"{_PURPOSE}:{used}", seconds=PENDING_SECONDS):
            raise RequestError("console.login-state")
        granted = await self.provider.exchange(code, pending.verifier)
        person = await self.identification.signed_in(granted, pending.nonce)
        name, principal = await self.sessions.open(granted, person, presented)
        return SignedIn(name, principal, pending.page)

    async def leave(self, name: str) -> str | None:
        """The session is over. Where the browser goes to end the issuer's own; None where it offers no such thing."""
        identity = await self.sessions.close(name)
        try:
            out = (await self.provider.door()).sign_out
        except AccessError:
            return None
        if out is None:
            return None
        hint = identity if identity is not None and len(identity) <= _MAX_HINT else None
        return sign_out_url(out, self.registration, self.signed_out, hint)

    def _opened(self, sealed: str | None) -> Pending | None:
        if sealed is None or len(sealed) > _MAX_SEALED:
            return None
        try:
            raw = base64.urlsafe_b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4))
        except (Error, UnicodeEncodeError):
            return None
        content = self.sealer.open(_PURPOSE, raw, context=self._context())
        return None if content is None else msgspec.json.decode(content, type=Pending)

    def _context(self) -> bytes:
        return f"{self.registration.issuer}\n{self.registration.client}".encode()

    def _now(self) -> float:
        return self.clock.now().timestamp()
