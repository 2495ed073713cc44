"""Feeding the index, from the start of the broker to its end: one node for each manager, whoever gets the lead.

Every worker of every node runs one keeper. For each active manager it tries to take the lead, and whoever has it renews it
while it works. Losing it ends the work at once; should a last write still be on its way, the store refuses it by its token.
What leaders do, `broker.sync.follower` says.

A manager that left the registry is cleared from the index by whoever gets the lead of it, and so are generations of the
index that a newer one has replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from broker.errors import StoreError
from broker.federation.federation import Federation
from broker.federation.managers import ManagersView
from broker.ports import Clock
from broker.sync.feed import Listener
from broker.sync.follower import Follower, LostLeadError
from broker.sync.options import SyncOptions
from broker.sync.reader import ManagerReader
from broker.sync.tasks import end
from registry.locator_model import CoverageState, Generation
from registry.model import Registered, Status
from registry.ports import Locator

_log = logging.getLogger("broker.locator")

_INDEX = "~index"
"""The lead of what concerns no single manager: no slug is written so."""

_RENEWALS = 3  # in one lease
_LONGEST_PAUSE = 5.0  # seconds between attempts at a store that does not answer


class LocatorKeeper:
    """`node`: a name of this process that no other has. `via`: as brokers name themselves to managers.

    `federation` leads to managers by a client whose failures count for nobody's breaker: a crawl asks for more at a
    time than a search does. `listener`: see `Follower`.
    """

    def __init__(
        self,
        managers: ManagersView,
        federation: Federation,
        locator: Locator,
        clock: Clock,
        *,
        node: str,
        via: str,
        options: SyncOptions | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._managers = managers
        self._federation = federation
        self._locator = locator
        self._clock = clock
        self._node = node
        self._via = via
        self._options = options or SyncOptions()
        self._listener = listener
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.leading: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lasting(_INDEX, self._keep_index()))
            while True:
                self._reconcile(group)
                await self._clock.sleep(self._options.look)

    def _reconcile(self, group: asyncio.TaskGroup) -> None:
        """One task for each active manager."""
        wanted = {
            one.gestionnaire.id for one in self._managers.all() if one.gestionnaire.status is Status.ACTIVE
        }
        for slug in self._tasks.keys() - wanted:
            self._tasks.pop(slug).cancel()
        for slug in wanted - self._tasks.keys():
            self._tasks[slug] = group.create_task(self._lasting(slug, self._follow(slug)))

    async def _lasting(self, slug: str, work: Coroutine[Any, Any, None]) -> None:
        """Until cancelled; then whoever comes next need not wait for the end of the lease."""
        try:
            await work
        finally:
            with suppress(StoreError):
                await self._locator.lead(slug, self._node, seconds=0)

    # --- the lead

    async def _follow(self, slug: str) -> None:
        """Lead whenever nobody else does."""
        failures = 0
        while True:
            pause = None
            try:
                fence = await self._lead(slug)
                failures = 0
                if fence is not None:
                    self.leading.add(slug)
                    await self._while_leading(slug, self._feed(slug, fence), fence)
            except LostLeadError:
                # It may have been our own doing: to clear a manager deposes its leader.
                pause = self._options.look
            except StoreError:
                failures += 1
            except Exception as error:  # noqa: BLE001
                # A defect of ours that one manager's answers bring out must not end the feeding of all: reported, put off.
                failures += 1
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"feeding the index from manager {slug} failed", "exception": error}
                )
            finally:
                self.leading.discard(slug)
            await self._clock.sleep(self._pause(failures) if pause is None else pause)

    async def _lead(self, slug: str) -> int | None:
        return await self._locator.lead(slug, self._node, seconds=self._options.lease)

    async def _while_leading(self, slug: str, work: Coroutine[Any, Any, None], fence: int) -> None:
        """Do it until it ends or the lead is lost. Raises what it raises, `LostLeadError`, `StoreError`."""
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self._renew(slug, fence))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks)

    async def _renew(self, slug: str, fence: int) -> None:
        while True:
            await self._clock.sleep(self._options.lease / _RENEWALS)
            if await self._lead(slug) != fence:
                raise LostLeadError

    def _pause(self, failures: int) -> float:
        if not failures:
            return self._options.lease / _RENEWALS
        return min(self._options.look * 2.0 ** min(failures - 1, 10), _LONGEST_PAUSE)

    # --- what a leader does

    async def _feed(self, slug: str, fence: int) -> None:
        """Look after every generation of the index: the one that answers, and one that is being filled to replace it."""
        running: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                numbers = _followed(await self._locator.generations(), slug)
                await end([running.pop(number) for number in running.keys() - numbers])
                for number in numbers - running.keys():
                    running[number] = asyncio.ensure_future(self._follower(slug, number, fence).run())
                watch = asyncio.ensure_future(self._clock.sleep(self._options.look))
                try:
                    done, _ = await asyncio.wait(
                        [watch, *running.values()], return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    await end([watch])
                for task in done:
                    task.result()
        finally:
            await end(running.values())

    def _follower(self, slug: str, generation: int, fence: int) -> Follower:
        return Follower(
            slug=slug,
            generation=generation,
            fence=fence,
            managers=self._managers,
            locator=self._locator,
            clock=self._clock,
            options=self._options,
            make_reader=self._reader,
            listener=self._listener,
        )

    def _reader(
        self, registered: Registered, size: int, unsorted: set[str], unrecorded: set[str]
    ) -> ManagerReader:
        return ManagerReader(
            registered, self._federation, self._clock, self._via, self._options, size, unsorted, unrecorded
        )

    # --- what nobody needs any more

    async def _keep_index(self) -> None:
        """Clear the managers that left, and drop generations that were replaced."""
        failures = 0
        while True:
            try:
                fence = await self._lead(_INDEX)
                if fence is not None:
                    await self._while_leading(_INDEX, self._clear_up(), fence)
                failures = 0
            except LostLeadError:
                pass
            except StoreError:
                failures += 1
            await self._clock.sleep(self._pause(failures))

    async def _clear_up(self) -> None:
        if self._managers.stale_since is not None:
            return  # nobody is known to have left
        registered = {one.gestionnaire.id for one in self._managers.all()}
        active = {
            one.gestionnaire.id for one in self._managers.all() if one.gestionnaire.status is Status.ACTIVE
        }
        for slug in sorted({*await self._locator.coverage()} - registered):
            if await self._lead(slug) is not None:
                _log.info("manager %s left: it is cleared from the index", slug)
                await self._locator.clear(slug)
        for number in await self._locator.superseded(sorted(active)):
            _log.info("a generation of the index has been replaced: it is dropped")
            await self._locator.drop_generation(number)


def _followed(generations: Sequence[Generation], slug: str) -> set[int]:
    """The one to be filled, and those before it that know the manager and answer until it does too."""
    ours = [one for one in generations if one.ours and not one.dropping]
    complete = CoverageState.COMPLETE
    return {
        one.number
        for one in ours
        if one is ours[-1] or (slug in one.coverage and one.coverage[slug].state is complete)
    }
