"""The writing side of a worker, put together: a part of the composition root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.core.entry import Entry
from broker.core.sealing import Sealer
from broker.core.statement import pseudonym
from broker.federation.federation import Federation
from broker.federation.locating import LocatorGuide
from broker.federation.mirroring import Mirroring
from broker.federation.read import ReadService
from broker.federation.search import SearchService
from broker.federation.writing.claims import Claims
from broker.federation.writing.create import CreateService
from broker.federation.writing.desk import Desk
from broker.federation.writing.detached import Detached
from broker.federation.writing.evidence import Evidence
from broker.federation.writing.idempotency import Idempotency
from broker.federation.writing.sending import Sending, SendingOptions
from broker.federation.writing.transact import TransactionService
from broker.federation.writing.uniqueness import Uniqueness
from broker.federation.writing.update import UpdateService
from broker.gateway.fhir_request import RequestRules
from broker.gateway.write_routes import WriteRoutes
from broker.observability.metrics_writes import WriteFigures
from broker.ports import Clock
from broker.settings import Settings
from broker.sync.settler import Settler
from broker.sync.written import WriteLearner
from registry.idempotency_store import RedisIdempotencyStore
from registry.locator_model import Identifier
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys
from registry.write_log import RedisWriteLog


@dataclass(frozen=True, slots=True)
class WritingParts:
    """`secrets`: the present one first, then those before it."""

    redis: RedisClient
    keys: RedisKeys
    secrets: Sequence[bytes]
    clock: Clock
    federation_id: str


@dataclass(frozen=True, slots=True)
class Writing:
    """What a worker serves, runs in the background, and waits for at its end."""

    routes: WriteRoutes
    settler: Settler
    detached: Detached

    def figures(self) -> WriteFigures:
        return WriteFigures(lambda: self.settler.pending, lambda: self.settler.settled)

    @classmethod
    def wired(
        cls,
        settings: Settings,
        parts: WritingParts,
        federation: Federation,
        reads: ReadService,
        searches: SearchService,
        guide: LocatorGuide | None,
    ) -> Writing:
        sealer = Sealer(parts.secrets)
        log = RedisWriteLog(parts.redis, keys=parts.keys, outbox=settings.sync)
        claims = Claims(log, sealer, parts.clock)
        evidence = Evidence(federation)
        options = SendingOptions(deadline=settings.write_deadline, settle=settings.write_settle)
        idempotency = Idempotency(
            RedisIdempotencyStore(parts.redis, keys=parts.keys),
            sealer,
            parts.clock,
            hold=settings.write_deadline + 3 * settings.write_settle,
        )
        desk = Desk(
            federation=federation,
            reads=reads,
            uniqueness=Uniqueness(federation, searches, guide, claims),
            claims=claims,
            sending=Sending(log, evidence, sealer, parts.clock, options),
            evidence=evidence,
            mirroring=Mirroring(federation, reads),
            learn=_nothing_to_tell if guide is None else WriteLearner(guide.locator).learn,
            keep=idempotency.keep,
            default_home=settings.home,
        )
        detached = Detached(settings.write_deadline)
        routes = WriteRoutes(
            creates=CreateService(desk),
            updates=UpdateService(desk),
            transactions=TransactionService(desk),
            idempotency=idempotency,
            detached=detached,
            rules=RequestRules(parts.federation_id, settings.write_deadline),
            clock=parts.clock,
        )
        settler = Settler(
            desk,
            idempotency,
            parts.clock,
            via=f"1.1 {pseudonym(parts.federation_id)}",
            every=settings.write_settle,
        )
        return cls(routes, settler, detached)


async def _nothing_to_tell(circle: Entry, persons: Sequence[Identifier], known_at: str | None) -> None:
    """There is no index."""
