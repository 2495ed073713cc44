"""What the HTTP client has ready for each manager: its address, its peer, and what the broker authenticates with there.

Files are looked at anew every `LOOK_SECONDS`, by one request that is on its way, and read where they changed. What cannot be
read then is no reason to stop: what was read before stays (half a rotation is the usual cause), it is said in the log, and
the next look tries again. A new certificate or authority makes a new `Peer`: exchanges that run end on the connections they
have, new ones are made with what is new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

from yarl import URL

from adapters.credentials.material import Material, read_material, reread_material
from adapters.credentials.signing import token_id
from adapters.credentials.token_endpoint import TokenEndpoints
from adapters.credentials.tokens import Tokens
from adapters.manager_exchange import Peer
from adapters.manager_urls import ManagerAddress
from broker.core.access.forwarded import forwarded_claims
from broker.core.access.principal import BROKER
from broker.core.hook_address import AddressRules
from broker.errors import ConfigurationError
from broker.ports import Clock, ManagerRequest
from registry.model import AuthType, Gestionnaire

LOOK_SECONDS: Final = 10.0

_SOONEST = 1.0  # seconds between two looks that refusals cause
_NEVER = float("inf")

_log = logging.getLogger("broker.credentials")


class ForbiddenManagerError(Exception):
    """The address of the manager is one that this broker does not call."""


class Link:
    """What is ready for one manager. `tokens`: where they come from a token endpoint. `look_at`: when its files are due;
    `looking`: one who looks."""

    __slots__ = ("address", "look_at", "looked_at", "looking", "manager", "material", "peer", "tokens")

    def __init__(self, manager: Gestionnaire, address: ManagerAddress, material: Material) -> None:
        self.manager = manager
        self.address = address
        self.material = material
        self.peer = Peer(URL(manager.base_url), material.tls)
        self.tokens: Tokens | None = None
        self.look_at = self.looked_at = _NEVER
        self.looking: asyncio.Task[None] | None = None

    def renew(self, material: Material) -> None:
        """Take over what the files hold now. Connections are parted with only where TLS changed."""
        if material.tls is not self.material.tls:
            self.peer = Peer(URL(self.manager.base_url), material.tls)
        self.material = material


class Links:
    """Made and closed inside a running event loop. `rules`: where managers may be; None: anywhere. `issuer`: by what name
    the broker signs."""

    def __init__(
        self,
        clock: Clock,
        environ: Mapping[str, str],
        *,
        user_agent: str,
        rules: AddressRules | None,
        issuer: str,
    ) -> None:
        self._clock = clock
        self._environ = environ
        self._rules = rules
        self._issuer = issuer
        self._links: dict[str, Link] = {}
        self._endpoints = TokenEndpoints(clock, rules, user_agent)
        self._tokens: set[Tokens] = set()
        self._looking: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        await asyncio.gather(*self._looking, return_exceptions=True)
        for tokens in list(self._tokens):
            await tokens.aclose()
        await self._endpoints.aclose()

    def forget(self, slug: str) -> None:
        self._retire(self._links.pop(slug, None))

    async def of(self, manager: Gestionnaire, now: float) -> Link:
        """`now`: of the monotonic clock. Raises `ConfigurationError`, `ForbiddenManagerError`."""
        link = self._links.get(manager.id)
        if link is None or (link.manager is not manager and link.manager != manager):
            return await self.prepare(manager)
        if now >= link.look_at:
            await self._look(link, now)
        return link

    async def prepare(self, manager: Gestionnaire) -> Link:
        """Read what there is to read, whatever was read before. Raises as `of`."""
        try:
            address = ManagerAddress(manager.base_url)
        except ValueError:
            raise ConfigurationError("registry.invalid", field="base_url", reason="not usable") from None
        # An address in the URL is not resolved, so that the connector does not look at it.
        if self._rules is not None and not self._rules.permits_url(manager.base_url):
            raise ForbiddenManagerError
        before = self._links.get(manager.id)
        material = await asyncio.to_thread(read_material, manager, self._environ)
        known = self._links.get(manager.id)
        if known is not None and known is not before and known.manager == manager:
            return known  # somebody else was quicker
        link = Link(manager, address, material)
        if material.may_change:
            self._looked(link, self._clock.monotonic())
        if manager.auth.type is AuthType.OAUTH2:
            fetch = partial(self._endpoints.token, manager.auth, lambda: link.material)
            link.tokens = Tokens(self._clock, manager.id, fetch)
            self._tokens.add(link.tokens)
        self._retire(known)
        self._links[manager.id] = link
        return link

    def _retire(self, link: Link | None) -> None:
        """Whoever still has it may go on with it. A fetch that runs is ended with the rest, at the latest."""
        if link is not None and link.tokens is not None and not link.tokens.fetching:
            self._tokens.discard(link.tokens)

    async def instead_of(self, link: Link, refused: str) -> str | None:
        """Another `Authorization` after the manager answered 401 to that one; None where there is none to try.

        Raises `CredentialsError`.
        """
        if link.tokens is not None:
            return await link.tokens.instead_of(refused)
        now = self._clock.monotonic()
        if link.looking is not None or now - link.looked_at >= _SOONEST:
            await self._look(link, now)
        value = link.material.authorization
        return None if value == refused else value

    async def identity(self, link: Link, request: ManagerRequest) -> tuple[str, str] | None:
        """The header that says for whom the manager is asked, where it wants to know."""
        wanted, key = link.manager.identity, link.material.identity_key
        if wanted is None or key is None:
            return None
        who = request.on_behalf
        claims = forwarded_claims(
            wanted,
            BROKER if who is None else who.principal,
            issuer=self._issuer,
            request_id=request.headers.get("X-Request-Id") if who is None else who.request_id,
            now=int(self._clock.now().timestamp()),
            token_id=token_id(),
        )
        token = await key.signed(claims)
        bearer = wanted.header.lower() == "authorization"
        return wanted.header, f"Bearer {token}" if bearer else token

    async def _look(self, link: Link, now: float) -> None:
        """Once for all who come meanwhile."""
        if link.looking is None:
            self._looked(link, now)
            link.looking = asyncio.create_task(self._read_again(link), name=f"files of {link.manager.id}")
            self._looking.add(link.looking)
            link.looking.add_done_callback(self._looking.discard)
        await asyncio.wait({link.looking})

    async def _read_again(self, link: Link) -> None:
        try:
            material = await asyncio.to_thread(reread_material, link.material, link.manager, self._environ)
        except ConfigurationError as error:
            told = error.params
            _log.warning(
                "manager %s: %s: %s; what was read before stays",
                link.manager.id,
                told.get("field"),
                told.get("reason"),
            )
        else:
            if material is not link.material:
                link.renew(material)
                _log.info("manager %s: credentials read again", link.manager.id)
        finally:
            link.looking = None

    def _looked(self, link: Link, now: float) -> None:
        link.looked_at, link.look_at = now, now + LOOK_SECONDS
