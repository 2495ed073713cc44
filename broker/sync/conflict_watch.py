"""Persons with two homes: found in the index, kept in the store, told on the log. Resolving one is a person's work.

Every worker of every node runs one watch; one of them looks, whoever gets the lead. What is to be told is kept before it is
published, and that it was is kept after: so each event is published once, and once more, under the same id, where whoever
publishes it is killed in between. The token is checked with everything that is kept, so that a leader that was replaced
while it stood still keeps nothing.

Where there is no log nobody is told; when there is one, it is told what is open then.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.core.conflict import Conflict, reconciled
from broker.errors import StoreError
from broker.ports import Clock, Managers
from broker.sync.conflict_teller import ConflictTeller
from registry.conflict_ports import ConflictStore, KnownConflicts
from registry.locator_model import Coverage, CoverageState
from registry.ports import Locator

_log = logging.getLogger("broker.sync")

_BATCH = 200
"""Conflicts kept, and events published, at a time."""


@dataclass(frozen=True, slots=True)
class ConflictOptions:
    """Seconds, but for the bound.

    `every`: between two looks. `lease`: how long a watch that fell silent stays the one; `margin`: of it, what a last
    publishing may take. `keep`: for how long a resolved conflict is shown; `most_kept`: of these.
    """

    every: float = 5.0
    lease: float = 60.0
    margin: float = 20.0
    keep: float = 7 * 86_400.0
    most_kept: int = 1000


class LostLeadError(Exception):
    """Another node looks by now."""


@dataclass(slots=True)
class ConflictWatch:
    """`node`: a name of this process that no other has. `remember`: keeps aliases of long ids (`identity.public_id`).

    `known`: as of the last look, whoever looked; None until the store was asked, and while it does not answer.
    """

    node: str
    locator: Locator
    store: ConflictStore
    managers: Managers
    teller: ConflictTeller | None
    remember: Callable[[Mapping[str, str]], Awaitable[None]]
    clock: Clock
    options: ConflictOptions = field(default_factory=ConflictOptions)
    known: KnownConflicts | None = None
    _until: float = 0.0

    async def run(self) -> None:
        """Until cancelled; then whoever comes next need not wait for the end of the lease."""
        try:
            while True:
                before = self.clock.monotonic()
                await self.look()
                took = self.clock.monotonic() - before
                # Where there are thousands, looking is work for the store: never more than a tenth of the time.
                await self.clock.sleep(max(self.options.every, min(9 * took, self.options.lease / 3)))
        finally:
            with suppress(StoreError):
                await self.store.lead(self.node, seconds=0)

    async def look(self) -> None:
        """Once: look and tell, where nobody else leads; learn what is known in any case."""
        try:
            token = await self._lead()
            if token is not None:
                with suppress(LostLeadError):
                    await self._see(token)
                    await self._tell(token)
            self.known = await self.store.known()
        except StoreError:
            self.known = None

    async def _lead(self) -> int | None:
        before = self.clock.monotonic()
        token = await self.store.lead(self.node, seconds=self.options.lease)
        self._until = before + self.options.lease
        return token

    async def _see(self, token: int) -> None:
        """Keep what the index says now."""
        before = await self.locator.coverage()
        homes = await self.locator.conflicts()
        after = await self.locator.coverage()
        known = (await self.store.known()).conflicts
        now = self.clock.now().timestamp()
        found = [[(one.manager, one.circle_id) for one in circles] for circles in homes]
        changed = reconciled(known, found, now, lambda slug: self._is_whole(slug, before, after))
        aliases: dict[str, str] = {}
        for one in changed:
            one.references(aliases)
        await self.remember(aliases)
        gone = self._past(known, changed, now)
        for start in range(0, max(len(changed), 1), _BATCH):
            part, last = changed[start : start + _BATCH], start + _BATCH >= len(changed)
            await self._save(token, part, gone if last else (), now if last else None)
        for one in changed:
            _log.log(
                logging.WARNING if one.is_open else logging.INFO,
                "conflict %s: %s" if one.is_open else "conflict %s is resolved: %s",
                one.id,
                ", ".join(one.references()),
            )

    def _is_whole(self, slug: str, before: Mapping[str, Coverage], after: Mapping[str, Coverage]) -> bool:
        """Whether the index held all of a manager's circles when it was asked, or the manager has left."""
        if self.managers.get(slug) is None:
            return bool(self.managers.all())  # else it is the registry that was not read yet
        then, now = before.get(slug), after.get(slug)
        if then is None or now is None or then.started != now.started:
            return False
        return then.state is now.state is CoverageState.COMPLETE

    def _past(self, known: Sequence[Conflict], changed: Sequence[Conflict], now: float) -> list[str]:
        """Resolved so long ago, or so many since, that nobody asks any more; never what is still to be told."""
        again = {one.id for one in changed}
        over = [
            one
            for one in known
            if one.resolved is not None and one.id not in again and (one.is_told or self.teller is None)
        ]
        over.sort(key=lambda one: one.resolved or 0.0, reverse=True)
        options = self.options
        return [
            one.id
            for place, one in enumerate(over)
            if place >= options.most_kept or now - (one.resolved or 0.0) > options.keep
        ]

    async def _tell(self, token: int) -> None:
        if self.teller is None:
            return
        waiting = [one for one in (await self.store.known()).conflicts if not one.is_told]
        waiting.sort(key=lambda one: one.sequence)
        for start in range(0, len(waiting), _BATCH):
            if self.clock.monotonic() > self._until - self.options.margin and await self._lead() != token:
                raise LostLeadError
            part = waiting[start : start + _BATCH]
            if not await self.teller.tell(part):
                return  # the log is out: they wait
            await self._save(token, [replace(one, told=one.sequence) for one in part])

    async def _save(
        self, token: int, changed: Sequence[Conflict], gone: Sequence[str] = (), looked: float | None = None
    ) -> None:
        if not await self.store.save(token, changed, gone=gone, looked=looked):
            raise LostLeadError
