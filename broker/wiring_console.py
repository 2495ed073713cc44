"""The console in a worker, put together: a part of the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from broker.console import audit, federation, registry, search, synchronisation
from broker.console.audit import AuditPage
from broker.console.circle import CirclePage
from broker.console.errors import console_errors
from broker.console.federation import Federated, FederationPage
from broker.console.frame import Frame, NavItem
from broker.console.gate import Gate
from broker.console.live import Live
from broker.console.lookout import Lookout
from broker.console.registry import RegistryPage
from broker.console.registry_edit import RegistryEditPage
from broker.console.search import SearchPage
from broker.console.session_cookie import SessionCookie
from broker.console.sign_in import Offered, SignInPage
from broker.console.signing import Signer
from broker.console.synchronisation import SynchronisationPage, Synchronised
from broker.wiring_access import Access
from broker.wiring_ground import Part
from broker.wiring_parts import Parts


class Page(Protocol):
    """One of the console's."""

    def routes(self) -> Iterable[web.RouteDef]: ...


@dataclass(frozen=True, slots=True)
class Console(Part):
    frame: Frame
    live: Live
    lookout: Lookout
    pages: Sequence[Page]
    signed_in: SessionCookie | None = None

    @classmethod
    def wired(cls, parts: Parts, access: Access, closing: asyncio.Event) -> Console:
        """`closing`: set when the worker leaves, so that nothing waits for browsers."""
        ground = parts.ground
        clock, outlooks = ground.clock, ground.sharing.outlooks
        federated = Federated(
            ground.managers,
            outlooks,
            None if parts.locating is None else parts.locating.service,
            None if parts.changes is None else parts.changes.watch,
        )
        synchronised = _synchronised(parts)
        live = Live(
            clock,
            {federation.TOPIC: federated.look, synchronisation.TOPIC: synchronised.look},
            closing=closing,
        )
        navigation: Sequence[NavItem] = (
            federation.NAV,
            search.NAV,
            synchronisation.NAV,
            registry.NAV,
            audit.NAV,
        )
        offered = _offered(access)
        frame = Frame(clock, Signer.of_secret(clock, ground.secrets[0]), navigation, offered is not None)
        pages: Sequence[Page] = (
            FederationPage(frame, federated, live),
            SynchronisationPage(frame, synchronised),
            RegistryPage(frame, parts.registry),
            RegistryEditPage(frame, parts.registry),
            SignInPage(frame, offered),
            *_of_persons(parts, frame),
        )
        return cls(
            frame,
            live,
            Lookout(live, ground.managers, ground.traffic, ground.guard.look, outlooks.refresh, clock),
            pages,
            None if offered is None else offered.cookie,
        )

    def middleware(self) -> Middleware:
        """Among the surroundings, outside of whoever refuses."""
        return console_errors(self.frame)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        yield from self.frame.routes()
        yield from self.live.routes()
        for page in self.pages:
            yield from page.routes()

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.lookout.run()


def _offered(access: Access) -> Offered | None:
    """What people sign in with; None where they cannot."""
    sign_in = access.sign_in
    if sign_in is None:
        return None
    secure = access.settings.base_url.startswith("https://")
    return Offered(sign_in, SessionCookie(sign_in.sessions, secure), access.peers)


def _of_persons(parts: Parts, frame: Frame) -> Sequence[Page]:
    """The pages that show personal data, behind their gate."""
    ground = parts.ground
    gate = Gate(frame, ground.rules(ground.settings.search_deadline))
    searches, histories = parts.reading.searches, parts.reading.fhir_routes.histories
    locates = None if parts.locating is None else parts.locating.locate_routes.service
    reader = None if parts.audit is None else parts.audit.reader
    return (
        gate,
        SearchPage(gate, searches),
        CirclePage(gate, searches, histories, locates),
        AuditPage(gate, reader, ground.settings.base_url),
    )


def _synchronised(parts: Parts) -> Synchronised:
    ground, changes, conflicts = parts.ground, parts.changes, parts.conflicts
    return Synchronised(
        ground.managers,
        None if changes is None else changes.status,
        None if changes is None else changes.topics.log,
        None if conflicts is None else conflicts.service,
        ground.settings.topic_prefix,
    )
