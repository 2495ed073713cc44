"""The writing side of a worker, put together: a part of the composition root."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from broker.core.entry import Entry
from broker.core.sealing import Sealer
from broker.federation.locating import LocatorGuide
from broker.federation.mirroring import Mirroring
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
from broker.gateway.write_routes import WriteRoutes
from broker.observability.metrics_writes import WriteFigures
from broker.sync.settler import Settler
from broker.sync.written import WriteLearner
from broker.wiring_ground import Ground, Part
from broker.wiring_reading import Reading
from registry.idempotency_store import RedisIdempotencyStore
from registry.locator_model import Identifier
from registry.write_log import RedisWriteLog


@dataclass(frozen=True, slots=True)
class Writing(Part):
    """What a worker writes with, and what settles the writes of which it is not known how they ended."""

    write_routes: WriteRoutes
    settler: Settler

    @classmethod
    def wired(
        cls, ground: Ground, reading: Reading, guide: LocatorGuide | None, stack: AsyncExitStack
    ) -> Writing:
        """Closing the stack waits for the writes that go on without their client."""
        settings, clock, federation, reads = ground.settings, ground.clock, ground.federation, reading.reads
        sealer = Sealer(ground.secrets)
        log = RedisWriteLog(ground.redis, keys=ground.keys, outbox=settings.sync)
        claims = Claims(log, sealer, clock)
        evidence = Evidence(federation)
        options = SendingOptions(deadline=settings.write_deadline, settle=settings.write_settle)
        idempotency = Idempotency(
            RedisIdempotencyStore(ground.redis, keys=ground.keys),
            sealer,
            clock,
            hold=settings.write_deadline + 3 * settings.write_settle,
        )
        desk = Desk(
            federation=federation,
            reads=reads,
            uniqueness=Uniqueness(federation, reading.searches, guide, claims),
            claims=claims,
            sending=Sending(log, evidence, sealer, clock, options, idempotency.hold_on),
            evidence=evidence,
            mirroring=Mirroring(federation, reads),
            learn=_nothing_to_tell if guide is None else WriteLearner(guide.locator).learn,
            keep=idempotency.keep,
            default_home=settings.home,
        )
        detached = Detached(settings.write_deadline)
        stack.push_async_callback(detached.aclose)
        routes = WriteRoutes(
            creates=CreateService(desk),
            updates=UpdateService(desk),
            transactions=TransactionService(desk),
            idempotency=idempotency,
            detached=detached,
            rules=ground.rules(settings.write_deadline),
            clock=clock,
        )
        return cls(routes, Settler(desk, idempotency, clock, via=ground.via, every=settings.write_settle))

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return self.write_routes.routes()

    def chores(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.settler.run()

    def figures(self) -> Iterable[WriteFigures]:
        yield WriteFigures(lambda: self.settler.pending, lambda: self.settler.settled)


async def _nothing_to_tell(circle: Entry, persons: Sequence[Identifier], known_at: str | None) -> None:
    """There is no index."""
