"""`Locator` on Redis or Valkey, one server or a cluster.

The document of `registry.locator_state` says which generations of the index there are; each is a `GenerationIndex`.
What is learnt goes to every generation whose secret is at hand, and a search asks them all. The document is remembered,
and read again in the same round trip as the index; where its shape turns out to be another, the search is made again.

The index is as sure as its store. One that was emptied has lost the document too, and covers nobody. A server must not
evict keys (`maxmemory-policy noeviction`). What a cluster loses at a failover is what it acknowledged in the last
moment before: whoever feeds the index reads that far back again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from broker.errors import StoreError
from broker.ports import Clock
from registry.locator_document import LocatorDocument, View
from registry.locator_hash import Keyring, Kind
from registry.locator_index import ATTEMPTS, MAX_IDENTIFIERS, Decide, GenerationIndex
from registry.locator_model import Coverage, Generation, Identifier, Pointer, Sighting
from registry.locator_plan import forget, learn
from registry.locator_records import Entry, Links, links_to
from registry.locator_state import covered, left, superseded
from registry.locator_sweeper import Sweeper
from registry.locator_wire import LocatorWire
from registry.ports import Holders, Located, Progress
from registry.redis_connection import RedisClient
from registry.redis_keys import RedisKeys

BATCH = 500
"""Sightings written at once."""

MAX_TEXT = 128
"""Longest logical id that is taken, and longest version that is kept. FHIR's have 64 characters at most."""

_Asked = tuple[Kind, Identifier]


@dataclass(frozen=True, slots=True)
class _Found:
    """The buckets of links for what was asked, in that order, of one generation."""

    index: GenerationIndex
    wanted: list[tuple[Kind, bytes]]
    buckets: list[bytes]


class RedisLocator:
    """`secret`: of the present generation. `previous`: of those that still answer while it is filled.

    `expected`: how many circles a generation begun here is laid out for; three times as many still do well. An index
    that none of the secrets opens covers nobody, and nothing is written to it.
    """

    def __init__(
        self,
        client: RedisClient,
        clock: Clock,
        secret: bytes,
        *,
        previous: Sequence[bytes] = (),
        expected: int = 1_000_000,
        keys: RedisKeys | None = None,
    ) -> None:
        self._keys = keys or RedisKeys()
        self._clock = clock
        self._wire = LocatorWire(client)
        rings = [Keyring(one) for one in (*previous, secret)]
        self._document = LocatorDocument(self._wire, self._keys, rings, expected=expected)
        self._sweeper = Sweeper(self._wire, self._keys, clock, self._document)

    # --- searching

    async def holders(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Holders:
        asked = _asked(persons, circles)
        view, found = await self._links(asked)
        slugs: dict[_Asked, set[str]] = {one: set() for one in asked}
        for one in found:
            names = one.index.names
            for key, (_, digest), bucket in zip(asked, one.wanted, one.buckets, strict=True):
                slugs[key].update(names[number] for number, _ in links_to(bucket, digest) if number in names)
        return Holders(
            {who: frozenset(slugs[Kind.PERSONS, who]) for who in persons},
            {which: frozenset(slugs[Kind.CIRCLES, which]) for which in circles},
            view.coverage,
        )

    async def pointers(self, persons: Sequence[Identifier], circles: Sequence[Identifier]) -> Located:
        asked = _asked(persons, circles)
        view, found = await self._links(asked)
        pointers: dict[_Asked, dict[tuple[str, str], Pointer]] = {one: {} for one in asked}
        for one in found:  # the newest generation last: it has the last word on a circle
            for key, entries in zip(asked, await one.index.followed(one.wanted, one.buckets), strict=True):
                for entry in entries:
                    pointer = _pointer(one.index, entry)
                    pointers[key][pointer.manager, pointer.circle_id] = pointer
        return Located(
            {who: tuple(pointers[Kind.PERSONS, who].values()) for who in persons},
            {which: tuple(pointers[Kind.CIRCLES, which].values()) for which in circles},
            view.coverage,
        )

    async def copies(self, manager: str, circle_id: str) -> tuple[Sequence[Pointer], Mapping[str, Coverage]]:
        view = await self._document.fresh()
        found: dict[tuple[str, str], Pointer] = {}
        for index in view.indexes:
            for entry in await index.copies(manager, circle_id):
                pointer = _pointer(index, entry)
                found[pointer.manager, pointer.circle_id] = pointer
        found.pop((manager, circle_id), None)
        return tuple(found.values()), view.coverage

    async def _links(self, asked: Sequence[_Asked]) -> tuple[View, list[_Found]]:
        for _ in range(ATTEMPTS):
            known = await self._document.remembered()
            wanted = [
                [(kind, _digest(index.ring, kind, who)) for kind, who in asked] for index in known.indexes
            ]
            keys = [
                index.key(kind, digest)
                for index, some in zip(known.indexes, wanted, strict=True)
                for kind, digest in some
            ]
            raw, *read = await self._wire.read([self._document.key, *keys])
            fresh = self._document.seen(raw)
            # A manager that is complete since was maybe not so yet when a bucket was read.
            if fresh.shape == known.shape:
                buckets = iter([bucket or b"" for bucket in read])
                return fresh, [
                    _Found(index, some, [next(buckets) for _ in some])
                    for index, some in zip(fresh.indexes, wanted, strict=True)
                ]
        raise StoreError("federation.store")

    # --- learning

    async def learn(self, sightings: Sequence[Sighting]) -> None:
        for one in sightings:
            if len(one.persons) + len(one.identifiers) > MAX_IDENTIFIERS or len(one.circle_id) > MAX_TEXT:
                raise StoreError("locator.too-many-identifiers", slug=one.manager, limit=MAX_IDENTIFIERS)
        newest = _newest(sightings)
        for start in range(0, len(newest), BATCH):
            batch = newest[start : start + BATCH]
            await self._everywhere(
                frozenset(one.manager for one in batch), partial(_entries, sightings=batch), learn
            )

    async def forget(self, manager: str, circle_id: str, *, at: float | None) -> None:
        now = self._now()

        def gone(index: GenerationIndex) -> Sequence[Entry]:
            number = index.generation.managers[manager]
            return (Entry(number, circle_id, _milliseconds(at), written=now),)

        await self._everywhere(frozenset((manager,)), gone, forget)

    async def _everywhere(
        self,
        managers: frozenset[str],
        entries: Callable[[GenerationIndex], Sequence[Entry]],
        decide: Decide,
    ) -> None:
        """Write to every generation there is, also to one that somebody began meanwhile."""
        written: set[tuple[int, ...]] = set()
        for _ in range(ATTEMPTS):
            view = await self._document.numbered(managers)
            todo = {_mark(index, managers): index for index in view.indexes}
            raw: bytes | None = None
            for mark in todo.keys() - written:
                raw = await todo[mark].apply(entries(todo[mark]), decide, now=self._now())
            if todo.keys() <= written:
                return
            written |= todo.keys()
            if raw is None:
                await self._document.fresh()
            else:
                self._document.seen(raw)
        raise StoreError("federation.store")

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    # --- coverage

    async def coverage(self, generation: int | None = None) -> Mapping[str, Coverage]:
        view = await self._document.fresh()
        if generation is None:
            return view.coverage
        one = view.state.find(generation)
        return {} if one is None else one.coverage

    async def save_coverage(self, manager: str, coverage: Coverage) -> bool:
        change = partial(covered, manager=manager, coverage=coverage)
        return await self._document.change(change) is not None

    async def lead(self, manager: str, node: str, *, seconds: float) -> int | None:
        key = self._keys.locator_lead(manager)
        return await self._wire.lead(key, self._keys.locator_fence, node, int(seconds * 1000)) or None

    # --- conflicts

    async def conflicts(self) -> Sequence[tuple[Pointer, ...]]:
        view = await self._document.fresh()
        found: dict[frozenset[tuple[str, str]], tuple[Pointer, ...]] = {}
        for index in view.indexes:
            for homes in await index.conflicts():
                pointers = tuple(_pointer(index, entry) for entry in homes)
                found[frozenset((one.manager, one.circle_id) for one in pointers)] = pointers
        return [found[homes] for homes in sorted(found, key=sorted)]

    # --- generations

    async def generations(self) -> Sequence[Generation]:
        await self._document.fresh()
        view = await self._document.begun()
        return [
            Generation(
                one.number,
                one.key_id,
                one.expected,
                self._document.knows(one.key_id),
                one.dropping,
                one.coverage,
            )
            for one in view.state.generations
        ]

    async def start_generation(self) -> int:
        return await self._document.started()

    async def superseded(self, managers: Iterable[str]) -> Sequence[int]:
        view = await self._document.fresh()
        return list(superseded(view.state, self._document.key_id, managers))

    async def drop_generation(
        self, number: int, *, progress: Progress | None = None, grace: float = 5.0
    ) -> None:
        await self._sweeper.drop(number, progress, grace)

    async def clear(self, manager: str, *, progress: Progress | None = None) -> None:
        fence = await self._wire.floor(self._keys.locator_lead(manager), self._keys.locator_fence)
        await self._document.change(partial(left, manager=manager, fence=fence))
        await self._sweeper.sweep(progress)


def _asked(persons: Iterable[Identifier], circles: Iterable[Identifier]) -> list[_Asked]:
    asked = [(Kind.PERSONS, who) for who in persons] + [(Kind.CIRCLES, which) for which in circles]
    return list(dict.fromkeys(asked))


def _digest(ring: Keyring, kind: Kind, identifier: Identifier) -> bytes:
    return ring.person(identifier) if kind is Kind.PERSONS else ring.circle(identifier)


def _mark(index: GenerationIndex, managers: Iterable[str]) -> tuple[int, ...]:
    """Which generation, under which numbers."""
    numbers = index.generation.managers
    return (index.generation.number, *(numbers[slug] for slug in sorted(managers)))


def _pointer(index: GenerationIndex, entry: Entry) -> Pointer:
    circle = min(entry.links.circles, default=b"")
    return Pointer(index.names[entry.manager], entry.circle_id, entry.version, entry.replica, circle)


def _entries(index: GenerationIndex, sightings: Sequence[Sighting]) -> list[Entry]:
    numbers, ring = index.generation.managers, index.ring
    return [
        Entry(
            numbers[one.manager],
            one.circle_id,
            _milliseconds(one.last_updated),
            one.version if one.version is not None and len(one.version) <= MAX_TEXT else None,
            one.replica,
            Links(frozenset(map(ring.person, one.persons)), frozenset(map(ring.circle, one.identifiers))),
        )
        for one in sightings
    ]


def _milliseconds(instant: float | None) -> int:
    """Since the epoch; 0 is kept for "not known"."""
    return 0 if instant is None else min(max(1, round(instant * 1000)), (1 << 48) - 1)


def _newest(sightings: Iterable[Sighting]) -> list[Sighting]:
    """Of each circle the last of the newest, and the last of those without a date."""
    newest: dict[tuple[str, str, bool], Sighting] = {}
    for one in sightings:
        key = (one.manager, one.circle_id, one.last_updated is None)
        known = newest.get(key)
        if known is None or (known.last_updated or 0) <= (one.last_updated or 0):
            newest[key] = one
    return list(newest.values())
