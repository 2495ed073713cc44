"""The index of circles in a worker, put together: a part of the composition root."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from broker.federation.locate import LocateService
from broker.federation.locating import LocatorGuide
from broker.gateway.locate_routes import LocateRoutes
from broker.gateway.locator_api import locator_routes
from broker.observability.metrics_locator import LocatorFigures
from broker.sync.coverage_watch import CoverageWatch
from broker.sync.feed_events import FeedEvents
from broker.sync.keeper import LocatorKeeper
from broker.sync.observer import LocatorObserver
from broker.sync.options import SyncOptions
from broker.sync.service import LocatorService
from broker.wiring_ground import Ground, Part
from registry.locator import RedisLocator
from registry.outbox import RedisOutbox


@dataclass(frozen=True, slots=True)
class Locating(Part):
    """The index, what feeds it, and who asks it."""

    guide: LocatorGuide
    keeper: LocatorKeeper
    observer: LocatorObserver
    service: LocatorService
    coverage: CoverageWatch
    locate_routes: LocateRoutes

    @classmethod
    def wired(cls, ground: Ground) -> Locating:
        settings, clock = ground.settings, ground.clock
        present, *previous = ground.secrets
        locator = RedisLocator(
            ground.redis,
            clock,
            present,
            previous=previous,
            expected=settings.locator_circles,
            keys=ground.keys,
        )
        guide = LocatorGuide(locator, clock, settings.locator_freshness)
        keeper = LocatorKeeper(
            ground.managers,
            ground.unjudged,
            locator,
            clock,
            node=secrets.token_hex(8),
            via=ground.via,
            options=SyncOptions(
                poll=settings.locator_poll,
                overlap=settings.locator_overlap,
                recrawl=settings.locator_recrawl,
            ),
            listener=FeedEvents(RedisOutbox(ground.redis, keys=ground.keys)).seen if settings.sync else None,
        )
        service = LocatorService(locator, ground.managers, guide, clock)
        rules = ground.rules(settings.search_deadline)
        return cls(
            guide=guide,
            keeper=keeper,
            observer=LocatorObserver(locator, clock),
            service=service,
            coverage=CoverageWatch(service, clock),
            locate_routes=LocateRoutes(LocateService(ground.federation, guide), rules, clock),
        )

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """To stand before those of the reads: `$locate` would be taken for an id."""
        yield from locator_routes(self.service)
        yield from self.locate_routes.routes()

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.observer.run()

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.keeper.run()
        yield self.coverage.run()

    def figures(self) -> Iterable[LocatorFigures]:
        learnt = self.observer
        yield LocatorFigures(self.guide, lambda: (learnt.learnt, learnt.dropped), self.coverage)
