"""What is done about slow managers, put together: a part of the composition root."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

from broker.core.latency_rule import PaceRule
from broker.federation.federation import Federation
from broker.federation.hedged_read import HedgedReads
from broker.federation.hedging import Hedging, Proof
from broker.federation.hedging_deadlines import Hurry
from broker.federation.hedging_paces import PacedManagers
from broker.federation.read import ReadService
from broker.federation.search import SearchService
from broker.observability.metrics import Room
from broker.observability.metrics_hedges import HedgeFigures
from broker.settings_tails import Wanted
from broker.wiring_ground import Ground, Part
from broker.wiring_locating import Locating
from registry.outbox import RedisOutbox
from registry.write_log import RedisWriteLog


@dataclass(frozen=True, slots=True)
class Tails(Part):
    """For clients' searches and reads alone: what the broker must know itself (one circle per person, what became of a
    write, what is published) is asked as patiently as ever.

    `paced`: None where nothing is to be done. `federation`: the way to managers on which it is measured.
    """

    paced: PacedManagers | None
    federation: Federation
    hedging: Hedging | None
    hurry: Hurry | None

    @classmethod
    def wired(cls, ground: Ground, locating: Locating | None) -> Tails:
        settings, plain = ground.settings, ground.federation
        hedged = settings.hedged_reads is not Wanted.OFF and locating is not None
        hurried = settings.adaptive_deadlines is not Wanted.OFF
        if not hedged and not hurried:
            return cls(None, plain, None, None)
        paced = PacedManagers(
            plain.client,
            ground.guard,
            ground.clock,
            default_timeout=settings.search_deadline,
            rule=PaceRule(floor=settings.adaptive_floor),
        )
        federation = replace(plain, client=paced)
        hedging = hurry = None
        if hedged and locating is not None:
            proof = None
            if settings.sync:
                log = RedisWriteLog(ground.redis, keys=ground.keys, outbox=True)
                proof = Proof(RedisOutbox(ground.redis, keys=ground.keys), log)
            everybody = settings.hedged_reads is Wanted.ON
            hedging = Hedging(federation, paced, locating.guide, proof, everybody=everybody)
        if hurried:
            hurry = Hurry(federation, paced, everybody=settings.adaptive_deadlines is Wanted.ON)
        return cls(paced, federation, hedging, hurry)

    def searches(self, plain: SearchService) -> SearchService:
        return replace(plain, federation=self.federation, hedging=self.hedging, hurried=self.hurry)

    def reads(self, plain: ReadService) -> ReadService:
        return plain if self.hedging is None else HedgedReads(self.federation, self.hedging)

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        return () if self.paced is None else (self.paced.run(),)

    def figures(self) -> Iterable[Room]:
        return () if self.hedging is None else (HedgeFigures(self.hedging.counts),)
