"""One generation of the index on Redis: writing entries with their links, and reading them back.

The order of writes is `registry.locator_plan`'s; here they are made, for many circles at once, and made again from what
is there now where another writer was quicker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker.errors import StoreError
from registry.locator_hash import Keyring, Kind, bucket_of
from registry.locator_plan import NOTHING, TOMBSTONE_SECONDS, Plan, conflicting, settled
from registry.locator_records import (
    NO_LINKS,
    Entry,
    Links,
    entries,
    identity,
    links_to,
    pack_entry,
    pack_link,
    unpack_entry,
    varint,
)
from registry.locator_scripts import EXCHANGE, FIND, LINKS
from registry.locator_state import GenerationState
from registry.locator_wire import Edit, LocatorWire, Telling
from registry.redis_keys import RedisKeys

ATTEMPTS = 50
"""Of an exchange that others were quicker at: one of all who try always succeeds."""

MAX_CONFLICTS = 10_000
"""Persons kept as having two homes. There is a graver fault in the federation where there are more."""

MAX_IDENTIFIERS = 200
"""Of one circle and its subject together."""

MAX_LINKS = 5 * MAX_IDENTIFIERS
"""Of one entry, with those that are leaving: half of what its length could say."""

Decide = Callable[[Entry | None, Entry], Plan]


@dataclass(slots=True)
class _Change:
    """An entry on its way in. `found`: its bytes as last read, `b""` for none. `added`: links, by plans that failed too."""

    told: Entry
    digest: bytes
    found: bytes = b""
    plan: Plan = NOTHING
    added: Links = NO_LINKS

    @property
    def identity(self) -> bytes:
        return identity(self.told.manager, self.told.circle_id)

    @property
    def outcome(self) -> Entry | None:
        """The entry as the plan leaves it."""
        return self.plan.new or (unpack_entry(self.found) if self.found else None)


class GenerationIndex:
    """Reads and writes one generation. Every method raises `StoreError`."""

    def __init__(
        self, wire: LocatorWire, keys: RedisKeys, generation: GenerationState, ring: Keyring
    ) -> None:
        self._wire = wire
        self._keys = keys
        self._conflicts = keys.locator_conflicts(generation.number)
        self._bits = {kind: generation.bits(kind) for kind in Kind}
        self.generation = generation
        self.ring = ring
        self.names: Mapping[int, str] = {number: slug for slug, number in generation.managers.items()}

    def key(self, kind: Kind, digest: bytes) -> str:
        """Of the bucket that a digest belongs to."""
        bucket = bucket_of(digest, self._bits[kind])
        return self._keys.locator_bucket(self.generation.number, kind, bucket, digest[0])

    # --- writing

    async def apply(self, told: Sequence[Entry], decide: Decide, *, now: int) -> bytes | None:
        """`told`: entries with stamp 0, their managers numbered in this generation. `now`: seconds since the epoch.

        The locator's document as it was when they were written, where it was read with that.
        """
        changes = [_Change(one, self.ring.entry(self.names[one.manager], one.circle_id)) for one in told]
        if len(changes) == 1 and self._wire.is_one_server:
            return await self._alone(changes[0], decide, now)
        found = await self._wire.run(FIND, [self._edit(one, one.identity) for one in changes])
        for place, entry in found.items():
            changes[place].found = entry
        for _ in range(ATTEMPTS):
            if not changes:
                return None
            changes = await self._attempt(changes, decide, now)
        raise StoreError("federation.store")

    async def _alone(self, change: _Change, decide: Decide, now: int) -> bytes | None:
        """One entry, in one step. It is taken for new at first: where it is not, the answer is what is there."""
        document: bytes | None = None
        if decide(None, change.told).new is None:
            found = await self._wire.run(FIND, [self._edit(change, change.identity)])
            change.found = found.get(0, b"")
        for _ in range(ATTEMPTS):
            change.plan = plan = decide(unpack_entry(change.found) if change.found else None, change.told)
            if plan.new is None:
                await self._clear_up([change], now)
                return document
            self._bounded(change)
            document, current, doubtful = await self._wire.write(self._telling(change, plan, plan.new, now))
            if current is None:
                if plan.remove or plan.new.leaving:
                    await self._clear_up([change], now)
                if doubtful:
                    await self.review(doubtful)
                return document
            change.found = current
        raise StoreError("federation.store")

    def _telling(self, change: _Change, plan: Plan, new: Entry, now: int) -> Telling:
        links = [
            (
                self._link(b"", kind, digest, change, new.stamp),
                digest if kind is Kind.PERSONS and digest in plan.review else b"",
            )
            for kind, digest in _each(plan.add)
        ]
        return Telling(
            self._exchange(change, new, now),
            links,
            plan.review - plan.add.persons,
            MAX_CONFLICTS,
            self._keys.locator_state,
            self._conflicts,
        )

    async def _attempt(self, changes: list[_Change], decide: Decide, now: int) -> list[_Change]:
        """Those that have to be tried again, with what is there now."""
        for change in changes:
            change.plan = decide(unpack_entry(change.found) if change.found else None, change.told)
            self._bounded(change)
        doubtful = await self._add(changes)
        if doubtful:
            # Before the exchange: a writer that is killed after it leaves a doubt too many, not one too few.
            await self._wire.mark(self._conflicts, doubtful, MAX_CONFLICTS)
        writing = [change for change in changes if change.plan.new is not None]
        beaten = await self._wire.run(EXCHANGE, [self._exchange(one, one.plan.new, now) for one in writing])
        lost = [writing[place] for place in sorted(beaten)]
        for place, found in beaten.items():
            writing[place].found = found
        again = set(map(id, lost))
        await self._clear_up([change for change in changes if id(change) not in again], now)
        if doubtful:
            await self.review(doubtful)
        return lost

    async def _add(self, changes: Iterable[_Change]) -> frozenset[bytes]:
        """The persons that may have two homes: those to be reviewed, but for the ones with a single link."""
        edits: list[Edit] = []
        owners: list[bytes] = []
        doubtful: set[bytes] = set()
        for change in changes:
            plan = change.plan
            change.added |= plan.add
            doubtful |= plan.review - plan.add.persons
            for kind, digest in _each(plan.add):
                stamp = 0 if plan.new is None else plan.new.stamp
                edits.append(self._link(b"+", kind, digest, change, stamp))
                owners.append(digest if kind is Kind.PERSONS and digest in plan.review else b"")
        doubtful |= {owners[place] for place in await self._wire.run(LINKS, edits) if owners[place]}
        return frozenset(doubtful)

    async def _clear_up(self, changes: Collection[_Change], now: int) -> None:
        edits: list[Edit] = []
        settling: list[Edit] = []
        for change in changes:
            entry = change.outcome
            if entry is None:
                continue
            for kind, digest in _each(change.plan.remove | (change.added - entry.links)):
                edits.append(self._link(b"-", kind, digest, change, change.plan.upto))
            if entry.leaving:
                change.found = pack_entry(entry)
                settling.append(self._exchange(change, settled(entry), now))
        await self._wire.run(LINKS, edits)
        # Whoever was quicker has taken over what is leaving.
        await self._wire.run(EXCHANGE, settling)

    def _bounded(self, change: _Change) -> None:
        """Raises where an entry has gathered, from sightings without dates, more than it can hold."""
        new = change.plan.new
        if new is not None and len(new.links) + len(new.leaving) > MAX_LINKS:
            slug = self.names[new.manager]
            raise StoreError("locator.too-many-identifiers", slug=slug, limit=MAX_IDENTIFIERS)

    def _link(self, sign: bytes, kind: Kind, digest: bytes, change: _Change, stamp: int) -> Edit:
        link = pack_link(digest, change.told.manager, change.digest, stamp)
        return Edit(digest[0], self.key(kind, digest), (sign + link,))

    def _exchange(self, change: _Change, new: Entry | None, now: int) -> Edit:
        assert new is not None  # noqa: S101 - for the type checker: only changes with a new entry are exchanged
        packed = pack_entry(new)
        purge = str(now - TOMBSTONE_SECONDS).encode() if new.deleted else b""
        return self._edit(change, change.identity, change.found, varint(len(packed)) + packed, purge)

    def _edit(self, change: _Change, *arguments: bytes) -> Edit:
        return Edit(change.digest[0], self.key(Kind.ENTRIES, change.digest), arguments)

    # --- reading

    async def located(self, wanted: Sequence[tuple[Kind, bytes]]) -> list[tuple[Entry, ...]]:
        """The entries behind each digest, of managers that are still there."""
        buckets = await self._read([self.key(kind, digest) for kind, digest in wanted])
        return await self.followed(wanted, buckets)

    async def copies(self, manager: str, circle_id: str) -> list[Entry]:
        """The entries that have one of the business identifiers of a manager's circle, its own among them."""
        number = self.generation.managers.get(manager)
        (bucket,) = await self._read([self.key(Kind.ENTRIES, self.ring.entry(manager, circle_id))])
        circles = {
            digest
            for entry in entries(bucket)
            if (entry.manager, entry.circle_id) == (number, circle_id)
            for digest in entry.links.circles
        }
        located = await self.located([(Kind.CIRCLES, digest) for digest in sorted(circles)])
        return [entry for each in located for entry in each]

    async def followed(
        self, wanted: Sequence[tuple[Kind, bytes]], buckets: Sequence[bytes]
    ) -> list[tuple[Entry, ...]]:
        """The same, with the buckets of links at hand."""
        targets = [
            [(manager, self.key(Kind.ENTRIES, entry)) for manager, entry in links_to(bucket, digest)]
            for (_, digest), bucket in zip(wanted, buckets, strict=True)
        ]
        keys = sorted({key for links in targets for _, key in links})
        held = dict(zip(keys, await self._read(keys), strict=True))
        return [
            tuple(self._chosen(kind, digest, links, held))
            for (kind, digest), links in zip(wanted, targets, strict=True)
        ]

    def _chosen(
        self, kind: Kind, digest: bytes, links: Iterable[tuple[int, str]], held: Mapping[str, bytes]
    ) -> Iterator[Entry]:
        seen = set()
        for manager, key in links:
            for entry in entries(held[key]):
                listed = entry.links.persons if kind is Kind.PERSONS else entry.links.circles
                which = (entry.manager, entry.circle_id)
                if entry.manager == manager in self.names and digest in listed and which not in seen:
                    seen.add(which)
                    yield entry

    async def _read(self, keys: Sequence[str]) -> list[bytes]:
        return [bucket or b"" for bucket in await self._wire.read(keys)] if keys else []

    # --- conflicts

    async def review(self, persons: Collection[bytes]) -> None:
        """Keep those that have two homes, and look again after letting others go: somebody may just have come."""
        found = await self._in_conflict(persons)
        clear = frozenset(persons) - found.keys()
        if clear:
            await self._wire.unmark(self._conflicts, clear)
            found.update(await self._in_conflict(clear))
        if found:
            await self._wire.mark(self._conflicts, found, MAX_CONFLICTS)

    async def conflicts(self) -> list[tuple[Entry, ...]]:
        """The homes, of each person that has several. Those that turn out to have one no more are let go."""
        persons = await self._wire.marked(self._conflicts)
        found = await self._in_conflict(persons)
        await self.review(persons - found.keys())
        return list(found.values())

    async def _in_conflict(self, persons: Collection[bytes]) -> dict[bytes, tuple[Entry, ...]]:
        wanted = [(Kind.PERSONS, digest) for digest in sorted(persons)]
        homes = [tuple(entry for entry in found if not entry.replica) for found in await self.located(wanted)]
        return {digest: found for (_, digest), found in zip(wanted, homes, strict=True) if conflicting(found)}


def _each(links: Links) -> Iterator[tuple[Kind, bytes]]:
    for digest in links.persons:
        yield Kind.PERSONS, digest
    for digest in links.circles:
        yield Kind.CIRCLES, digest
