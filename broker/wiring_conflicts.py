"""Persons with two homes in a worker, put together: a part of the composition root."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from broker.gateway.conflict_api import conflict_routes
from broker.observability.metrics_conflicts import ConflictFigures
from broker.ports import Clock
from broker.sync.change_log import ChangeLog
from broker.sync.conflict_service import ConflictService
from broker.sync.conflict_teller import ConflictTeller
from broker.sync.conflict_watch import ConflictOptions, ConflictWatch
from broker.wiring_ground import Ground, Part
from registry.conflict_store import RedisConflictStore
from registry.ports import Locator

_SLOWEST = 10.0  # seconds between two looks for conflicts


@dataclass(frozen=True, slots=True)
class Conflicts(Part):
    """What finds them, and shows them."""

    watch: ConflictWatch
    service: ConflictService
    clock: Clock

    @classmethod
    def wired(cls, ground: Ground, locator: Locator, log: ChangeLog | None) -> Conflicts:
        """`log`: None where nothing is published."""
        settings, store = ground.settings, RedisConflictStore(ground.redis, keys=ground.keys)
        watch = ConflictWatch(
            secrets.token_hex(8),
            locator,
            store,
            ground.managers,
            None if log is None else ConflictTeller(log, settings.base_url, settings.topic_prefix),
            ground.federation.remember,
            ground.clock,
            # The index learns no faster than feeds are read.
            ConflictOptions(every=min(settings.locator_poll, _SLOWEST)),
        )
        return cls(watch, ConflictService(store, ground.managers), ground.clock)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return conflict_routes(self.service)

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.watch.run()

    def figures(self) -> Iterable[ConflictFigures]:
        yield ConflictFigures(self.watch, self.clock)
