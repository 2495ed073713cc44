"""Sessions of people who signed in to the console: what the issuer gave for them, sealed in the store.

A browser holds a name drawn at random, the store the session under a digest of it: neither is of use without the other, and
what the store holds, not without the locator's secret. A session ends when it is ended, when nobody used it for a while,
when its time is over, or when the issuer gives no more tokens for it. Tokens that are about to expire are renewed by one
request of one node; whoever comes meanwhile goes on with what there is, or waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from broker.access.authenticator import Authenticator, Presented
from broker.access.identification import Identification
from broker.access.ports import Granted, Provider, SessionStore
from broker.core.access.challenge import BEARER
from broker.core.access.principal import Method, Principal, Scopes, User
from broker.core.outcome import status_of
from broker.core.sealing import Sealer
from broker.errors import AccessError
from broker.ports import Clock, Leases

_PURPOSE: Final = "console session"
_AHEAD: Final = 60.0
"""Seconds before its end at which a token is renewed, or half its life where that is less."""
_RENEWING: Final = 15
"""Seconds for which one node has a renewal to itself; it takes two exchanges at most."""
_WAIT, _STEP = 8.0, 0.1  # seconds that the others wait for it
_PATIENCE = 0.5  # seconds that a request waits for tokens where those that there are still serve

_log = logging.getLogger("broker.access")


class Session(msgspec.Struct, frozen=True, array_like=True):
    """`identity`: the ID token, for the issuer to know which session of its own to end. `until`, `renew_at`: seconds since
    the epoch; the latter None where the issuer does not say for how long its tokens are good."""

    client: str
    person: User
    access: str
    refresh: str | None
    identity: str | None
    until: float
    renew_at: float | None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds: without use, and in all."""

    idle: float
    whole: float


@dataclass
class Sessions:
    """`authenticator`: the one that judges everybody's tokens."""

    authenticator: Authenticator
    provider: Provider
    identification: Identification
    store: SessionStore
    sealer: Sealer
    leases: Leases
    clock: Clock
    lifetime: Lifetime
    _renewing: dict[str, asyncio.Task[Session]] = field(default_factory=dict, init=False, repr=False)

    async def open(self, granted: Granted, person: User, presented: Presented) -> tuple[str, Principal]:
        """The name that the browser is to hold. Raises `AccessError` where who bears this token is refused, `StoreError`."""
        now = self._now()
        session = Session(
            "",
            person,
            granted.access,
            granted.refresh,
            granted.identity,
            now + self.lifetime.whole,
            _renewal(granted, now),
        )
        principal = await self._judged(session, presented)
        session = msgspec.structs.replace(session, client=principal.client)
        name = secrets.token_urlsafe(32)
        key = _key(name)
        await self.store.save(key, self._sealed(key, session), seconds=self._left(session))
        return name, principal

    async def principal(self, name: str, presented: Presented, *, used: bool) -> Principal:
        """Who has the session. `used`: by a person, and not by a page that follows on by itself.

        Raises `AccessError`, 401 `console.session-over` where there is none any more, `StoreError`.
        """
        key = _key(name)
        session = await self._held(key)
        if session.renew_at is not None and self._now() >= session.renew_at:
            session = await self._renewed_ahead(key, session)
        try:
            principal = await self._judged(session, presented)
        except AccessError as error:
            if status_of(error) != 401:
                raise
            session = await self._renewed(key, session)
            principal = await self._judged_anew(key, session, presented)
        if used:
            await self.store.touch(key, seconds=self._left(session))
        return principal

    async def known(self, name: str) -> Principal | None:
        """Whose session it is, without any right: to sign out takes none. None where it is over."""
        try:
            session = await self._held(_key(name))
        except AccessError:
            return None
        return Principal(session.client, Method.TOKEN, Scopes(), user=session.person)

    async def close(self, name: str) -> str | None:
        """It is over, on every node. The ID token of it, where there was one."""
        key = _key(name)
        blob = await self.store.load(key)
        await self.store.remove(key)
        session = None if blob is None else self._opened(key, blob)
        if session is None:
            return None
        await self._revoked(session.refresh)
        return session.identity

    async def forget(self, name: str) -> None:
        """Another one takes its place in that browser. The issuer is told nothing: to it they may be one."""
        await self.store.remove(_key(name))

    async def aclose(self) -> None:
        """Tokens that are being renewed are not lost."""
        if self._renewing:
            await asyncio.wait(list(self._renewing.values()), timeout=_RENEWING)

    async def _held(self, key: str) -> Session:
        blob = await self.store.load(key)
        session = None if blob is None else self._opened(key, blob)
        if session is None:
            raise _over()
        if self._now() >= session.until:
            await self.store.remove(key)
            raise _over()
        return session

    async def _judged(self, session: Session, presented: Presented) -> Principal:
        """By the very rules that bearers are judged by. The person is known, whether or not the token says who it is."""
        shown = replace(presented, authorization=f"Bearer {session.access}")
        principal = await self.authenticator.principal(shown)
        user, person = principal.user, session.person
        if user is None:
            return replace(principal, user=person)
        if user.subject != person.subject:
            raise AccessError("console.login-person")
        whole = replace(user, identifier=user.identifier or person.identifier, name=user.name or person.name)
        return replace(principal, user=whole)

    async def _judged_anew(self, key: str, session: Session, presented: Presented) -> Principal:
        try:
            return await self._judged(session, presented)
        except AccessError as error:
            if status_of(error) != 401:
                raise
            await self.store.remove(key)
            raise _over() from None

    async def _renewed_ahead(self, key: str, session: Session) -> Session:
        """While the issuer takes its time, or is away, its tokens serve until they are refused."""
        if session.refresh is None:
            return session
        task = self._renewal(key, session)
        await asyncio.wait([task], timeout=_PATIENCE)
        if not task.done():
            return session
        try:
            return task.result()
        except AccessError as error:
            if status_of(error) == 401:
                raise
            return session

    async def _renewed(self, key: str, session: Session) -> Session:
        return await asyncio.shield(self._renewal(key, session))

    def _renewal(self, key: str, session: Session) -> asyncio.Task[Session]:
        """One task, which outlives whoever asks: tokens given once must not be lost with a browser that leaves."""
        task = self._renewing.get(key)
        if task is None:
            task = self._renewing[key] = asyncio.create_task(self._renew(key, session))
            task.add_done_callback(lambda done: self._done(key, done))
        return task

    def _done(self, key: str, task: asyncio.Task[Session]) -> None:
        self._renewing.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited was told

    async def _renew(self, key: str, stale: Session) -> Session:
        lease = f"{_PURPOSE}:{key}"
        if not await self.leases.take(lease, seconds=_RENEWING):
            return await self._renewed_elsewhere(key, stale)
        try:
            held = await self._held(key)
            if held.access != stale.access:
                return held
            return await self._exchanged(key, held)
        finally:
            await self.leases.give_back(lease)

    async def _exchanged(self, key: str, held: Session) -> Session:
        try:
            if held.refresh is None:
                raise _over()
            granted = await self.provider.renew(held.refresh)
            await self.identification.still(granted, held.person)
        except AccessError as error:
            if status_of(error) == 401:
                await self.store.remove(key)
                raise _over() from None
            raise
        fresh = msgspec.structs.replace(
            held,
            access=granted.access,
            refresh=granted.refresh or held.refresh,
            renew_at=_renewal(granted, self._now()),
        )
        if not await self.store.replace(key, self._sealed(key, fresh)):
            await self._revoked(fresh.refresh)  # signed out meanwhile
            raise _over()
        return fresh

    async def _renewed_elsewhere(self, key: str, stale: Session) -> Session:
        begun = self.clock.monotonic()
        while self.clock.monotonic() - begun < _WAIT:
            await self.clock.sleep(_STEP)
            held = await self._held(key)
            if held.access != stale.access:
                return held
        raise AccessError("console.login-unavailable")

    async def _revoked(self, refresh: str | None) -> None:
        """As far as the issuer can be had: here the session is over in any case."""
        if refresh is None:
            return
        try:
            await self.provider.revoke(refresh)
        except AccessError:
            _log.warning("tokens of a session that is over could not be revoked")

    def _sealed(self, key: str, session: Session) -> bytes:
        return self.sealer.seal(_PURPOSE, msgspec.json.encode(session), context=key.encode())

    def _opened(self, key: str, blob: bytes) -> Session | None:
        content = self.sealer.open(_PURPOSE, blob, context=key.encode())
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Session)
        except msgspec.MsgspecError:  # of another version
            return None

    def _left(self, session: Session) -> int:
        return max(1, int(min(self.lifetime.idle, session.until - self._now())))

    def _now(self) -> float:
        return self.clock.now().timestamp()


def _key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _renewal(granted: Granted, now: float) -> float | None:
    seconds = granted.seconds
    return None if seconds is None else now + max(seconds - _AHEAD, seconds / 2)


def _over() -> AccessError:
    return AccessError("console.session-over", challenge=BEARER)
