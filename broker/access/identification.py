"""Who signed in, by the ID token that came with the access token."""

from __future__ import annotations

from dataclasses import dataclass

from broker.access.ports import Granted, Identities
from broker.core.access.challenge import refused
from broker.core.access.identity import check_bound, check_identity
from broker.core.access.principal import User
from broker.core.access.sign_in import Registration
from broker.errors import AccessError
from broker.ports import Clock


@dataclass(frozen=True, slots=True)
class Identification:
    """`leeway`: seconds by which the issuer's clock may differ."""

    identities: Identities
    registration: Registration
    clock: Clock
    leeway: float

    async def signed_in(self, granted: Granted, nonce: str) -> User:
        """Raises `AccessError`."""
        if granted.identity is None:
            raise refused("access.claim", claim="id_token")
        return await self._person(granted, granted.identity, nonce)

    async def still(self, granted: Granted, person: User) -> None:
        """That renewed tokens are that person's, where they say whose they are (OpenID Connect Core 1.0, section 12.2).
        Raises `AccessError`."""
        if granted.identity is None:
            return
        if (await self._person(granted, granted.identity, None)).subject != person.subject:
            raise AccessError("console.login-person")

    async def _person(self, granted: Granted, identity: str, nonce: str | None) -> User:
        algorithm, payload = await self.identities.verified(identity)
        check_bound(payload, granted.access, algorithm)
        now = self.clock.now().timestamp()
        return check_identity(payload, self.registration, now, leeway=self.leeway, nonce=nonce)
