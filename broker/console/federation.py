"""The page *Federation*: a tile for every region, a line for every manager."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from broker.console.federation_view import (
    HEIGHT,
    WIDTH,
    ManagerLine,
    State,
    by_state,
    spark,
    state_of,
    tiles,
    worst_first,
)
from broker.console.frame import Frame, NavItem
from broker.console.live import Line, Live
from broker.errors import StoreError
from broker.federation.manager_guard import ManagerHealth
from broker.observability.outlooks import Outlooks
from broker.ports import Managers
from broker.sync.service import LocatorService, ManagerInLocator
from broker.sync.watch import SyncWatch
from registry.model import Registered

NAV: Final = NavItem("federation.title", "/console")
TOPIC: Final = "federation"


@dataclass(frozen=True, slots=True)
class Federated:
    """What is known of managers. `locator`, `watch`: None where there is no index, no synchronisation."""

    managers: Managers
    outlooks: Outlooks
    locator: LocatorService | None
    watch: SyncWatch | None

    async def index(self) -> Mapping[str, ManagerInLocator] | None:
        """None where there is none. Raises `StoreError`."""
        if self.locator is None:
            return None
        return {one.id: one for one in (await self.locator.status()).managers}

    def lines(self, index: Mapping[str, ManagerInLocator]) -> list[ManagerLine]:
        health = self.outlooks.health()
        return [self._line(one, health.get(one.gestionnaire.id), index) for one in self.managers.all()]

    def look(self) -> Mapping[str, Line]:
        """What is followed: the figures rounded, so that noise is no news."""
        return {
            line.slug: {
                "state": line.state.value,
                "mean": None if line.recent.mean is None else round(line.recent.mean, 2),
                "errors": None if line.recent.errors is None else round(line.recent.errors, 2),
                "breaker": None if line.health is None else line.health.breaker.value,
                "behind": None if line.backlog is None else line.backlog.events,
                "letters": line.letters,
            }
            for line in self.lines({})
        }

    def _line(
        self, one: Registered, health: ManagerHealth | None, index: Mapping[str, ManagerInLocator]
    ) -> ManagerLine:
        manager, watch, traffic = one.gestionnaire, self.watch, self.outlooks.traffic()
        slug = manager.id
        recent = traffic.recent(slug)
        return ManagerLine(
            slug=slug,
            name=manager.name,
            region=manager.region,
            state=state_of(one, health, traffic.of(slug), recent),
            health=health,
            recent=recent,
            index=index.get(slug),
            backlog=None if watch is None else watch.backlogs.get(slug),
            letters=None if watch is None else watch.letters.get(slug),
            spark=spark(traffic.line(slug)),
        )


@dataclass(frozen=True, slots=True)
class FederationPage:
    frame: Frame
    federated: Federated
    live: Live

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get("/console", self._show)

    async def _show(self, request: web.Request) -> web.Response:
        self.live.look()
        await self.federated.outlooks.refresh()
        try:
            index, out = await self.federated.index(), False
        except StoreError:
            index, out = {}, True
        lines = self.federated.lines(index or {})
        return self.frame.render(
            request,
            "federation.html",
            lines=worst_first(lines),
            tiles=tiles(lines),
            counts=by_state(lines),
            states=tuple(State),
            circles=None if index is None or out else sum(one.circles for one in index.values()),
            indexed=index is not None,
            out=out,
            spark_width=WIDTH,
            spark_height=HEIGHT,
        )
