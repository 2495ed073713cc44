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
from broker.console.search import SearchPage
from broker.console.signing import Signer
from broker.console.synchronisation import SynchronisationPage, Synchronised
from broker.federation.registry_service import RegistryService
from broker.observability.metrics import Room
from broker.wiring_audit import Audit
from broker.wiring_changes import Changes
from broker.wiring_conflicts import Conflicts
from broker.wiring_ground import Ground
from broker.wiring_locating import Locating
from broker.wiring_reading import Reading


class Page(Protocol):
    """One of the console's."""

    def routes(self) -> Iterable[web.RouteDef]: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Of the worker, what pages show. None: it has no such part."""

    registry: RegistryService
    locating: Locating | None
    changes: Changes | None
    conflicts: Conflicts | None
    reading: Reading
    audit: Audit | None


@dataclass(frozen=True, slots=True)
class Console:
    frame: Frame
    live: Live
    lookout: Lookout
    pages: Sequence[Page]

    @classmethod
    def wired(cls, ground: Ground, parts: Parts, closing: asyncio.Event) -> Console:
        """`closing`: set when the worker leaves, so that nothing waits for browsers."""
        clock = ground.clock
        federated = Federated(
            ground.managers,
            ground.guard.states,
            ground.traffic,
            None if parts.locating is None else parts.locating.service,
            None if parts.changes is None else parts.changes.watch,
        )
        synchronised = _synchronised(ground, parts)
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
        frame = Frame(clock, Signer.of_secret(clock, ground.secrets[0]), navigation)
        pages: Sequence[Page] = (
            FederationPage(frame, federated, live),
            SynchronisationPage(frame, synchronised),
            RegistryPage(frame, parts.registry),
            *_of_persons(ground, parts, frame),
        )
        return cls(
            frame, live, Lookout(live, ground.managers, ground.traffic, ground.guard.look, clock), pages
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

    def figures(self) -> Iterable[Room]:
        return ()


def _of_persons(ground: Ground, parts: Parts, frame: Frame) -> Sequence[Page]:
    """The pages that show personal data, behind their gate."""
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


def _synchronised(ground: Ground, parts: Parts) -> Synchronised:
    changes, conflicts = parts.changes, parts.conflicts
    return Synchronised(
        ground.managers,
        None if changes is None else changes.status,
        None if changes is None else changes.topics.log,
        None if conflicts is None else conflicts.service,
        ground.settings.topic_prefix,
    )
