"""What recognising a client, and signing people in, ask of the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from broker.core.access.claims import Payload


class Tokens(Protocol):
    """Access tokens of one kind, proven to be the issuer's."""

    async def payload(self, token: str) -> Payload:
        """The claims of a token, none of them judged. Raises `AccessError`: 401 where the token is not the issuer's, 503
        where that cannot be known now."""
        ...


class Identities(Protocol):
    """ID tokens, proven to be the issuer's."""

    async def verified(self, token: str) -> tuple[str, Payload]:
        """The algorithm of the signature and the claims, none of them judged. Raises `AccessError` as `Tokens` does."""
        ...


@dataclass(frozen=True, slots=True)
class Granted:
    """What the issuer gave (RFC 6749, section 5.1; OpenID Connect Core 1.0, section 3.1.3.3). `seconds`: for which the
    access token is good, None where it does not say."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    identity: str | None = field(default=None, repr=False)
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """Where people show the issuer who they are. `sign_out`: None where a session there cannot be ended from here.
    `names_itself`: in what it sends browsers back with (RFC 9207)."""

    sign_in: str
    sign_out: str | None = None
    names_itself: bool = False


class Provider(Protocol):
    """The issuer, as who signs people in. Every call raises `AccessError`: 503 where it gives no usable answer."""

    async def door(self) -> Door: ...

    async def exchange(self, code: str, verifier: str) -> Granted:
        """502 where it does not take the code."""
        ...

    async def renew(self, refresh: str) -> Granted:
        """401 `console.session-over` where it does not take the token any more."""
        ...

    async def revoke(self, refresh: str) -> None:
        """RFC 7009, where it offers that."""
        ...


class SessionStore(Protocol):
    """Sealed sessions that expire by themselves. `key`: says nothing of whose it is. Every call raises `StoreError`."""

    async def save(self, key: str, blob: bytes, *, seconds: int) -> None: ...

    async def load(self, key: str) -> bytes | None: ...

    async def replace(self, key: str, blob: bytes) -> bool:
        """Of one that is still there, which expires when it would have. False where it is gone."""
        ...

    async def touch(self, key: str, *, seconds: int) -> None:
        """One that is there expires so many seconds from now."""
        ...

    async def remove(self, key: str) -> None: ...
