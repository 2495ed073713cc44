"""The locator in memory, with the faults that tests ask for. One suite holds it to the real one's ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from broker.errors import StoreError
from broker.ports import Clock
from registry.locator_model import (
    Coverage,
    CoverageState,
    Generation,
    Identifier,
    Pointer,
    Sighting,
)
from registry.ports import Holders, Located, Progress
from tests.support.fake_stores import ManualClock


@dataclass
class _Generation:
    number: int
    dropping: bool = False
    circles: dict[tuple[str, str], Sighting] = field(default_factory=dict)
    deleted: dict[tuple[str, str], float] = field(default_factory=dict)
    coverage: dict[str, Coverage] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)


class FakeLocator:
    """`Locator` in memory. `down`: every call fails. `lose()`: the store is emptied.

    `cover` puts managers in the state that a test needs; `learnt` gives what the newest generation holds.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.down = False
        self.calls: list[str] = []
        self._generations: list[_Generation] = []
        self._numbers = 0
        self._fence = 0
        self._leads: dict[str, tuple[str, int, float]] = {}

    # --- for tests

    def lose(self) -> None:
        self._generations.clear()
        self._leads.clear()

    def cover(self, *managers: str, as_of: float | None = None) -> None:
        newest = self._begun()[-1]
        instant = self.clock.now().timestamp() if as_of is None else as_of
        for slug in managers:
            newest.coverage[slug] = Coverage(CoverageState.COMPLETE, as_of=instant, generation=newest.number)

    @property
    def learnt(self) -> Mapping[tuple[str, str], Sighting]:
        """By manager and circle id."""
        return self._generations[-1].circles if self._generations else {}

    # --- searching

    async def holders(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Holders:
        self._call("holders")
        return Holders(
            {who: frozenset(one.manager for one in self._of_person(who)) for who in persons},
            {which: frozenset(one.manager for one in self._of_circle(which)) for which in circles},
            self._coverage(),
        )

    async def pointers(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Located:
        self._call("pointers")
        return Located(
            {who: _pointers(self._of_person(who)) for who in persons},
            {which: _pointers(self._of_circle(which)) for which in circles},
            self._coverage(),
        )

    async def copies(self, manager: str, circle_id: str) -> tuple[Sequence[Pointer], Mapping[str, Coverage]]:
        self._call("copies")
        own = {
            which
            for one in self._all()
            if (one.manager, one.circle_id) == (manager, circle_id)
            for which in one.identifiers
        }
        others = [one for one in self._all() if own & set(one.identifiers) and one.manager != manager]
        return _pointers(others), self._coverage()

    def _of_person(self, who: Identifier) -> Iterator[Sighting]:
        return (one for one in self._all() if _plain(who) in one.persons)

    def _of_circle(self, which: Identifier) -> Iterator[Sighting]:
        return (one for one in self._all() if _plain(which) in one.identifiers)

    def _all(self) -> Iterator[Sighting]:
        for one in self._alive():
            yield from one.circles.values()

    # --- learning

    async def learn(self, sightings: Sequence[Sighting]) -> None:
        self._call("learn")
        self._begun()
        for one in sightings:
            told = replace(
                one,
                persons=tuple(map(_plain, one.persons)),
                identifiers=tuple(map(_plain, one.identifiers)),
            )
            for generation in self._alive():
                _learn(generation, told)

    async def forget(self, manager: str, circle_id: str, *, at: float | None) -> None:
        self._call("forget")
        self._begun()
        for generation in self._alive():
            _forget(generation, (manager, circle_id), at)

    async def clear(self, manager: str, *, progress: Progress | None = None) -> None:
        self._call("clear")
        _, floor, until = self._leads.get(manager, ("", 0, -1.0))
        if self.clock.monotonic() >= until:
            self._fence = floor = self._fence + 1
        for one in self._generations:
            one.circles = {key: seen for key, seen in one.circles.items() if key[0] != manager}
            one.deleted = {key: at for key, at in one.deleted.items() if key[0] != manager}
            one.coverage.pop(manager, None)
            one.floors[manager] = floor
        if progress is not None:
            progress(1, 1)

    # --- coverage

    async def coverage(self, generation: int | None = None) -> Mapping[str, Coverage]:
        self._call("coverage")
        if generation is None:
            return self._coverage()
        one = self._find(generation)
        return {} if one is None else dict(one.coverage)

    async def save_coverage(self, manager: str, coverage: Coverage) -> bool:
        self._call("save_coverage")
        one = self._find(coverage.generation)
        if one is None or one.dropping:
            return False
        if coverage.fence < max(one.coverage.get(manager, Coverage()).fence, one.floors.get(manager, 0)):
            return False
        one.coverage[manager] = coverage
        return True

    async def lead(self, manager: str, node: str, *, seconds: float) -> int | None:
        self._call("lead")
        now = self.clock.monotonic()
        holder, fence, until = self._leads.get(manager, ("", 0, -1.0))
        if now < until:
            if holder != node:
                return None
        elif seconds <= 0:
            return None
        else:
            self._fence = fence = self._fence + 1
        self._leads[manager] = (node, fence, now + seconds)
        return fence

    def _coverage(self) -> dict[str, Coverage]:
        best: dict[str, Coverage] = {}
        for one in self._alive():
            for slug, coverage in one.coverage.items():
                complete = coverage.state is CoverageState.COMPLETE
                if complete or best.get(slug, Coverage()).state is not CoverageState.COMPLETE:
                    best[slug] = coverage
        return best

    # --- conflicts

    async def conflicts(self) -> Sequence[tuple[Pointer, ...]]:
        self._call("conflicts")
        found = {}
        for one in self._alive():
            homes: dict[Identifier, list[Sighting]] = {}
            for seen in one.circles.values():
                for who in () if seen.replica else seen.persons:
                    homes.setdefault(who, []).append(seen)
            for kept in homes.values():
                if any(not set(a.identifiers) & set(b.identifiers) for a in kept for b in kept if a is not b):
                    found[frozenset((seen.manager, seen.circle_id) for seen in kept)] = _pointers(kept)
        return [found[key] for key in sorted(found, key=sorted)]

    # --- generations

    async def generations(self) -> Sequence[Generation]:
        self._call("generations")
        return [
            Generation(one.number, "fake", 1000, True, one.dropping, dict(one.coverage))
            for one in self._begun()
        ]

    async def start_generation(self) -> int:
        self._call("start_generation")
        return self._start()

    async def superseded(self, managers: Iterable[str]) -> Sequence[int]:
        self._call("superseded")
        wanted = set(managers)
        full = [
            at
            for at, one in enumerate(self._generations)
            if wanted and wanted <= _complete(one) and not one.dropping
        ]
        newest = full[-1] if full else 0
        return [one.number for at, one in enumerate(self._generations) if at < newest or one.dropping]

    async def drop_generation(
        self, number: int, *, progress: Progress | None = None, grace: float = 5.0
    ) -> None:
        self._call("drop_generation")
        one = self._find(number)
        if one is None:
            return
        one.dropping = True
        await self.clock.sleep(grace)
        self._generations.remove(one)
        if progress is not None:
            progress(1, 1)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise StoreError("federation.store")

    def _find(self, number: int) -> _Generation | None:
        return next((one for one in self._generations if one.number == number), None)

    def _alive(self) -> list[_Generation]:
        return [one for one in self._generations if not one.dropping]

    def _begun(self) -> list[_Generation]:
        if not self._alive():
            self._start()
        return self._generations

    def _start(self) -> int:
        self._numbers += 1
        floors = self._generations[-1].floors if self._generations else {}
        self._generations.append(_Generation(self._numbers, floors=dict(floors)))
        return self._numbers


def _learn(generation: _Generation, told: Sighting) -> None:
    key = (told.manager, told.circle_id)
    at, deleted = told.last_updated, generation.deleted.get(key)
    known = generation.circles.get(key)
    if at is not None and deleted is not None and at <= deleted:
        return
    if known is not None:
        if at is not None and known.last_updated is not None and at < known.last_updated:
            return
        if (at is None) is not (known.last_updated is None):
            told = replace(
                known if at is None else told,
                persons=tuple({*known.persons, *told.persons}),
                identifiers=tuple({*known.identifiers, *told.identifiers}),
            )
    generation.circles[key] = told
    generation.deleted.pop(key, None)


def _forget(generation: _Generation, key: tuple[str, str], at: float | None) -> None:
    known = generation.circles.get(key)
    updated = known.last_updated if known is not None else None
    if at is not None and updated is not None and at < updated:
        return
    generation.circles.pop(key, None)
    instants = [one for one in (at, updated, generation.deleted.get(key)) if one is not None]
    if instants:
        generation.deleted[key] = max(instants)


def _complete(one: _Generation) -> set[str]:
    return {slug for slug, coverage in one.coverage.items() if coverage.state is CoverageState.COMPLETE}


def _plain(identifier: Identifier) -> Identifier:
    system, value = identifier
    return system.strip().casefold(), value.strip().casefold()


def _pointers(sightings: Iterable[Sighting]) -> tuple[Pointer, ...]:
    kept = {(one.manager, one.circle_id): one for one in sightings}
    return tuple(
        Pointer(one.manager, one.circle_id, one.version, one.replica, _circle(one)) for one in kept.values()
    )


def _circle(one: Sighting) -> bytes:
    return min(("\n".join(identifier).encode() for identifier in one.identifiers), default=b"")
