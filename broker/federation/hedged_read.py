"""A read of a circle that is answered by a replica where its home is slow or out, for clients that take replicas.

The replica is shown as what it is: under its own public id, with its marks, and `Content-Location`. It has its own
references, its own version; so it bears no validators, which would be taken for those of the home's circle.

Never for a version, a history, a conditional read, or one that says `Cache-Control`: these ask for the home's word. While
the home answers as it usually does, it costs a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from broker.core.breaker import BREAKING
from broker.core.bundle import read_resource
from broker.core.elements import keep_elements
from broker.core.identity import ID
from broker.errors import BrokerError, FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.hedging import Hedging
from broker.federation.manager_calls import ManagerCalls
from broker.federation.read import HEEDED, Located, ReadAnswer, ReadService
from registry.locator_model import Pointer
from registry.model import Status

CIRCLE = "CareTeam"

_HOME_ONLY = frozenset(HEEDED)

_AWAY = BREAKING | {FailureKind.BREAKER_OPEN}
"""How a home fails that may be stood in for. What it refuses, or says is not there, is its answer."""


@dataclass(frozen=True, slots=True)
class HedgedReads(ReadService):
    """`ReadService` for clients."""

    hedging: Hedging

    async def read(
        self,
        resource_type: str,
        public_id: str,
        context: RequestContext,
        *,
        version: str | None = None,
        conditions: Mapping[str, str] | None = None,
        elements: frozenset[str] | None = None,
    ) -> ReadAnswer:
        """See `ReadService.read`."""
        home = partial(
            ReadService.read,
            self,
            resource_type,
            public_id,
            context,
            version=version,
            conditions=conditions,
            elements=elements,
        )
        plain = resource_type == CIRCLE and version is None and self.hedging.takes_replicas(context)
        if not plain or not _HOME_ONLY.isdisjoint(conditions or ()):
            return await home()
        try:
            where = await self.locate(public_id, context)
        except BrokerError:
            return await home()  # it says so itself
        if where.calls.manager.identity is not None:
            return await home()  # it wants to know who asks: what it would say to them is its own
        return await self._first_good(home(), _Standby(self.hedging, where, public_id, context, elements))

    async def _first_good(self, home: Coroutine[Any, Any, ReadAnswer], standby: _Standby) -> ReadAnswer:
        hedging, manager = self.hedging, standby.where.calls.manager
        hedging.budget.earn()
        delay = hedging.managers.paces(manager).reads.hedge_after(standby.context.clock.monotonic())
        asking = asyncio.create_task(home)
        tasks: list[asyncio.Task[Any]] = [asking]
        try:
            await asyncio.wait([asking], timeout=delay)
            if not asking.done() and not hedging.budget.spend():
                hedging.counts.count("budget")
                await asyncio.wait([asking])
            if asking.done() and not _is_away(asking):
                return asking.result()
            standing_in = asyncio.create_task(standby.answer())
            tasks.append(standing_in)
            return await self._either(asking, standing_in, manager.id)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _either(
        self,
        asking: asyncio.Task[ReadAnswer],
        standing_in: asyncio.Task[ReadAnswer | None],
        home: str,
    ) -> ReadAnswer:
        while True:
            if asking.done() and not _is_away(asking):
                self.hedging.counts.count("home")
                return asking.result()
            if standing_in.done() and (answer := standing_in.result()) is not None:
                self.hedging.counts.count("replica")
                if not asking.done():
                    self.hedging.doubt(home)
                return answer
            waiting = [task for task in (asking, standing_in) if not task.done()]
            if not waiting:
                return asking.result()
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


def _is_away(asking: asyncio.Task[ReadAnswer]) -> bool:
    error = asking.exception()
    return isinstance(error, ManagerError) and error.kind in _AWAY


@dataclass(frozen=True, slots=True)
class _Standby:
    """Whoever can answer for the home of one circle."""

    hedging: Hedging
    where: Located
    public_id: str
    context: RequestContext
    elements: frozenset[str] | None

    async def answer(self) -> ReadAnswer | None:
        """A proven replica; None where there is none to be had."""
        hedging, home = self.hedging, self.where.calls.manager
        found = await hedging.asked(hedging.guide.locator.copies(home.id, self.where.local_id))
        candidates = [] if found is None else self._candidates(found[0])
        if found is None or not candidates:
            hedging.counts.count("none")
            return None
        number = None
        if home.id in hedging.guide.covered(found[1]):
            number = await hedging.number(home.id, self.where.local_id)
        if number is None:
            hedging.counts.count("unproven")
            return None
        calls, local_id = candidates[0]
        return await self._ask(calls, local_id, number)

    def _candidates(self, pointers: Sequence[Pointer]) -> list[tuple[ManagerCalls, str]]:
        """Replicas at managers that the client reaches and that are well, the quickest first."""
        federation, paced = self.hedging.federation, self.hedging.managers
        now = self.context.clock.monotonic()
        found = []
        for one in pointers:
            registered = federation.managers.get(one.manager)
            if registered is None or not one.replica or ID.fullmatch(one.circle_id) is None:
                continue
            manager = registered.gestionnaire
            active = manager.status is Status.ACTIVE and paced.has_room(manager)
            if active and self.context.principal.reaches(manager):
                delay = paced.paces(manager).reads.hedge_after(now)
                found.append((delay, one.manager, one.circle_id, federation.calls(registered)))
        found.sort(key=lambda one: one[:3])
        return [(calls, circle_id) for _, _, circle_id, calls in found]

    async def _ask(self, calls: ManagerCalls, local_id: str, number: int) -> ReadAnswer | None:
        hedging, context = self.hedging, self.context
        federation = hedging.federation
        context.touched.managers.add(calls.manager.id)
        origin, aliases = federation.origins.of(calls.manager), dict[str, str]()
        try:
            answer = await calls.get(f"{CIRCLE}/{local_id}", context)
            if answer.status != 200:
                hedging.counts.count("none")
                return None
            entry = read_resource(answer.body, origin, CIRCLE, aliases, federation.origins.all())
        except ManagerError:
            hedging.counts.count("none")
            return None
        if entry.local_id != local_id or not hedging.stands_for(entry, self.public_id, number):
            hedging.counts.count("unproven")
            return None
        await federation.remember(aliases)
        context.touched.name(CIRCLE, entry.public_id, entry.raw)
        body = entry.raw if self.elements is None else keep_elements(entry.raw, self.elements)
        address = f"{federation.options.public_base}/{CIRCLE}/{entry.public_id}"
        return ReadAnswer(200, body, {"content-location": address})
