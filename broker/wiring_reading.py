"""The reading side of a worker, put together: a part of the composition root."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from broker import __version__
from broker.core.access.described import Recognised
from broker.core.capability import federation_statement
from broker.federation.history import HistoryService
from broker.federation.read import ReadService
from broker.federation.search import SearchService
from broker.gateway.fhir_routes import FhirRoutes
from broker.gateway.plan_api import plan_routes
from broker.observability.metrics import Room
from broker.wiring_ground import Ground, Part
from broker.wiring_locating import Locating
from broker.wiring_tails import Tails


@dataclass(frozen=True, slots=True)
class Reading(Part):
    """What a worker searches and reads with."""

    searches: SearchService
    reads: ReadService
    fhir_routes: FhirRoutes
    tails: Tails

    @classmethod
    def wired(
        cls, ground: Ground, locating: Locating | None, recognised: Callable[[], Recognised] = Recognised
    ) -> Reading:
        settings, federation = ground.settings, ground.federation
        searches = (
            SearchService(federation, tell=ground.search_figures.page)
            if locating is None
            else SearchService(
                federation, locating.guide, locating.observer.seen, tell=ground.search_figures.page
            )
        )
        reads = ReadService(federation)
        tails = Tails.wired(ground, locating)
        fhir = FhirRoutes(
            searches=tails.searches(searches),
            reads=tails.reads(reads),
            histories=HistoryService(federation, reads),
            statement=lambda: federation_statement(
                ground.managers.all(),
                public_base=settings.base_url,
                version=__version__,
                now=ground.clock.now().isoformat(timespec="seconds"),
                federation_id=ground.federation_id,
                writes=True,
                subscriptions=settings.sync,
                recognised=recognised(),
            ),
            rules=ground.rules(settings.search_deadline),
            clock=ground.clock,
            max_count=settings.max_count,
            default_count=settings.default_count,
        )
        return cls(searches, reads, fhir, tails)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        yield from self.fhir_routes.routes()
        yield from plan_routes(self.searches.explain, max_count=self.fhir_routes.max_count)

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        return self.tails.background()

    def figures(self) -> Iterable[Room]:
        return self.tails.figures()
