"""A search by a person's or a circle's identifier that does not wait for more than it needs (decision 11).

All holders are asked at once, as ever. When one of them takes longer than it usually does, the index is asked what exactly
they hold, and a manager is waited for no longer where

- all that it holds of what is sought are replicas of circles whose homes have given all they have. These replicas would not
  be shown: the answer is the same without them.
- it is a home, the client takes replicas, and every circle that it holds of what is sought is there as a proven replica. The
  answer is as if the home were out: the replica is shown, and the home named.

Nobody is asked who would not be asked otherwise. While all answer as they usually do, it costs one timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.core.identified import Identified, identified
from broker.core.identity import ID, public_id
from broker.core.manager_failure import failed
from broker.core.preferences import Partial
from broker.core.query import SearchQuery
from broker.errors import FailureKind, ManagerError
from broker.federation.context import RequestContext
from broker.federation.fan_out import fan_out
from broker.federation.hedging import Hedging
from broker.federation.issues import tells_partial
from broker.federation.manager_search import FetchedPage
from registry.locator_model import Pointer
from registry.model import Gestionnaire

Fetched = FetchedPage | ManagerError
Ask = Callable[[str], Awaitable[FetchedPage]]

_NOTHING: Sequence[Pointer] = ()


@dataclass(slots=True)
class HedgedFanOut:
    """In the place of `fan_out` for the first pages of one search. `managers`: whom it asks."""

    hedging: Hedging
    query: SearchQuery
    managers: Mapping[str, Gestionnaire]
    context: RequestContext
    _first: bool = True
    _held: Mapping[str, Sequence[Pointer]] | None = None  # by manager, of those of which the index knows all
    _excused: dict[str, Fetched] = field(default_factory=dict)

    async def __call__(self, slugs: Sequence[str], ask: Ask) -> Mapping[str, Fetched]:
        """See `fan_out`."""
        if not self._first or len(slugs) < 2:
            return await fan_out(slugs, ask)
        self._first = False
        late = self._delays(slugs)
        tasks: dict[str, asyncio.Task[Fetched]] = {}
        watchers: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        timer = loop.call_later(
            min(late.values()), lambda: watchers.append(loop.create_task(self._watch(tasks, late)))
        )
        try:
            async with asyncio.TaskGroup() as group:
                for slug in slugs:
                    tasks[slug] = group.create_task(_settled(slug, ask))
        except ExceptionGroup as raised:
            raise raised.exceptions[0] from raised
        finally:
            timer.cancel()
            for watcher in watchers:
                watcher.cancel()
        return {slug: self._excused[slug] if one.cancelled() else one.result() for slug, one in tasks.items()}

    def _delays(self, slugs: Sequence[str]) -> dict[str, float]:
        """From when on each manager is late: seconds from now."""
        paces, now = self.hedging.managers, self.context.clock.monotonic()
        return {slug: paces.paces(self.managers[slug]).searches.hedge_after(now) for slug in slugs}

    async def _watch(self, tasks: Mapping[str, asyncio.Task[Fetched]], late: Mapping[str, float]) -> None:
        """From the first that is late on: at each answer, and whenever another one is late, who is needed still?"""
        loop = asyncio.get_running_loop()
        began = loop.time() - min(late.values())
        while waiting := {slug: task for slug, task in tasks.items() if not task.done()}:
            passed = loop.time() - began
            answered = {slug: task.result() for slug, task in tasks.items() if slug not in waiting}
            if answered:
                overdue = {slug for slug in waiting if late[slug] <= passed + 0.001}
                for slug, instead in (await self._needless(set(waiting), overdue, answered)).items():
                    if not tasks[slug].done():
                        self._let_go(slug, instead)
                        tasks[slug].cancel()
            coming = [late[slug] - passed for slug in waiting if late[slug] > passed + 0.001]
            still = [task for slug, task in waiting.items() if slug not in self._excused]
            if not still:
                return
            await asyncio.wait(still, timeout=min(coming, default=None), return_when=asyncio.FIRST_COMPLETED)

    def _let_go(self, slug: str, instead: Fetched) -> None:
        self._excused[slug] = instead
        self.hedging.counts.count("stood-in" if isinstance(instead, ManagerError) else "spared")
        self.hedging.doubt(slug)

    async def _needless(
        self, waiting: set[str], overdue: set[str], answered: Mapping[str, Fetched]
    ) -> Mapping[str, Fetched]:
        """What stands for those that need not be waited for: nothing of their own, or that they were late."""
        if self._held is None:
            self._held = await self._look_up()
        held = self._held
        spoken = {slug for slug, answer in answered.items() if _is_whole(answer)}
        there = {
            one.circle for slug in spoken for one in held.get(slug, ()) if not one.replica and one.circle
        }
        excused: dict[str, Fetched] = {}
        for slug in sorted(waiting & overdue & held.keys()):
            if await self._stood_in_for(slug, held[slug], answered, there):
                excused[slug] = failed(self.managers[slug], FailureKind.TIMEOUT)
                there |= {one.circle for one in held[slug] if not one.replica}
        for slug in waiting & held.keys() - excused.keys():
            if all(one.replica and one.circle in there for one in held[slug]):
                excused[slug] = FetchedPage([], [], None, None)
        return excused

    async def _look_up(self) -> Mapping[str, Sequence[Pointer]]:
        named, guide = identified(self.query), self.hedging.guide
        found = await self.hedging.asked(guide.pointers(named))
        if found is None:
            return {}
        pointers = _all_of(named, found.persons, found.circles)
        held: dict[str, list[Pointer]] = {slug: [] for slug in guide.covered(found.coverage)}
        for one in pointers:
            if one.manager in held:
                held[one.manager].append(one)
        return held

    async def _stood_in_for(
        self, slug: str, held: Sequence[Pointer], answered: Mapping[str, Fetched], there: set[bytes]
    ) -> bool:
        """Whether proven replicas of all circles of this home are there. Only what is sought by identifiers alone, and
        nothing with it: what else a replica's manager says of it may be older than the circle."""
        homes = [one for one in held if not one.replica]
        others = [one for one in held if one.replica and one.circle not in there]
        if not homes or others or self.managers[slug].identity is not None or not self._takes_replicas():
            return False
        shown = [
            found.item
            for answer in answered.values()
            if isinstance(answer, FetchedPage)
            for found in answer.found
        ]
        for home in homes:
            if not home.circle or ID.fullmatch(home.circle_id) is None:
                return False
            number = await self.hedging.number(slug, home.circle_id)
            circle = public_id(slug, home.circle_id)
            if number is None or not any(self.hedging.stands_for(one, circle, number) for one in shown):
                return False
        return True

    def _takes_replicas(self) -> bool:
        query = self.query
        plain = len(identified(query)) == len(query.criteria) and not query.includes
        allowed = self.context.preferences.partial is not Partial.DENY
        return plain and allowed and self.hedging.takes_replicas(self.context)


def _all_of(
    named: Sequence[Identified], *found: Mapping[tuple[str, str], Sequence[Pointer]]
) -> list[Pointer]:
    """Of every criterion: more than all of them together find, never less."""
    persons, circles = found
    pointers = [
        pointer
        for criterion in named
        for lists in (
            [persons.get(one, _NOTHING) for one in criterion.persons],
            [circles.get(one, _NOTHING) for one in criterion.circles],
        )
        for listed in lists
        for pointer in listed
    ]
    return list({(one.manager, one.circle_id): one for one in pointers}.values())


def _is_whole(answer: Fetched) -> bool:
    """Whether a manager has given all that it holds of what is sought."""
    return (
        isinstance(answer, FetchedPage)
        and answer.next_url is None
        and not answer.incomplete
        and not answer.problems
        and not any(map(tells_partial, answer.outcomes))
    )


async def _settled(slug: str, ask: Ask) -> Fetched:
    try:
        return await ask(slug)
    except ManagerError as error:
        return error
