"""Writers of the index that interleave, come in any order, come twice, and die between any two writes.

At every instant, what an entry lists has its link. When everything has arrived at last, links and truth are the same.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters.clock import SystemClock
from broker.errors import StoreError
from registry.locator import RedisLocator
from registry.locator_model import Identifier, Sighting
from registry.locator_plan import Plan, forget, learn, settled
from registry.locator_records import Entry, Links, pack_entry
from registry.locator_wire import Edit, LocatorWire, Telling
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from tests.support.examples import examples
from tests.support.valkey import ValkeyServer

schedules = st.binary(min_size=20, max_size=60)

PERSONS = [letter * 7 for letter in (b"a", b"b", b"c")]


@dataclass(frozen=True)
class Event:
    """`persons` None: a deletion."""

    circle: str
    at: int
    persons: tuple[int, ...] | None


@st.composite
def histories(draw: st.DrawFn, *, circles: int = 2, length: int = 7) -> list[Event]:
    """Events with dates of their own, in any order of arrival."""
    some = st.none() | st.lists(st.integers(0, len(PERSONS) - 1), unique=True, max_size=3).map(tuple)
    told = draw(st.lists(st.tuples(st.integers(1, circles), some), min_size=1, max_size=length))
    events = [Event(str(circle), at, persons) for at, (circle, persons) in enumerate(told, 1)]
    return draw(st.permutations(events))


def truth(events: Sequence[Event]) -> set[tuple[int, str]]:
    """(person, circle): as the newest event of each circle has it."""
    newest: dict[str, Event] = {}
    for event in sorted(events, key=lambda one: one.at):
        newest[event.circle] = event
    return {(person, event.circle) for event in newest.values() for person in event.persons or ()}


# --- the protocol alone, every write a step of its own


@dataclass
class Store:
    """What the scripts do to their keys."""

    links: dict[tuple[bytes, str], int] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)

    def add(self, person: bytes, circle: str, stamp: int) -> None:
        old = self.links.get((person, circle))
        if old is None or (stamp - old) % 256 < 128:
            self.links[person, circle] = stamp

    def remove(self, person: bytes, circle: str, upto: int) -> None:
        old = self.links.get((person, circle))
        if old is not None and (upto - old) % 256 < 128:
            del self.links[person, circle]

    def exchange(self, circle: str, old: Entry | None, new: Entry) -> bool:
        if self.entries.get(circle) != old:
            return False
        self.entries[circle] = new
        return True

    def holds(self) -> bool:
        return all(
            (person, circle) in self.links
            for circle, entry in self.entries.items()
            for person in entry.links.persons
        )


def interleave(running: list[Iterator[None]], schedule: bytes) -> Iterator[None]:
    """Each byte gives one writer its next step, or its end; what is left when they are used up goes on in order."""
    for byte in schedule:
        if not running:
            return
        chosen = running[byte % len(running)]
        if byte >= 250 or next(chosen, "done") == "done":
            running.remove(chosen)
        yield
    for chosen in running:
        for _ in chosen:
            yield


def decided(event: Event, current: Entry | None) -> Plan:
    if event.persons is None:
        return forget(current, Entry(1, event.circle, event.at, written=1))
    persons = Links(frozenset(PERSONS[number] for number in event.persons))
    return learn(current, Entry(1, event.circle, event.at, links=persons))


def writer(store: Store, event: Event) -> Iterator[None]:
    """One event on its way in, as `GenerationIndex` takes it there; yields between any two exchanges with the store."""
    circle = event.circle
    added: frozenset[bytes] = frozenset()
    while True:
        current = store.entries.get(circle)
        yield
        plan = decided(event, current)
        added |= plan.add.persons
        for person in sorted(plan.add.persons):
            store.add(person, circle, 0 if plan.new is None else plan.new.stamp)
            yield
        if plan.new is None or store.exchange(circle, current, plan.new):
            break
        yield
    yield
    entry = plan.new or current
    if entry is None:
        return
    for person in sorted(plan.remove.persons | (added - entry.links.persons)):
        store.remove(person, circle, plan.upto)
        yield
    if entry.leaving:
        store.exchange(circle, entry, settled(entry))


# A writer that died before it removed a link, then a deletion that comes too late to change anything.
@example([Event("1", 2, None), Event("1", 1, None)], b"\x00\x00\xff", 0)
@settings(max_examples=examples(120), deadline=None)
@given(histories(circles=1), schedules, st.sampled_from([0, 62, 126, 254]))
def test_what_an_entry_lists_has_its_link_at_every_instant(
    events: list[Event], schedule: bytes, stamp: int
) -> None:
    store = Store()
    # A circle with a past, so that stamps pass 255 on the way.
    store.entries["1"] = Entry(1, "1", 0, links=Links(frozenset(PERSONS[:1])), stamp=stamp)
    store.links[PERSONS[0], "1"] = stamp
    running = [writer(store, event) for event in [*events, *events[::2]]]
    for _ in interleave(running, schedule):
        assert store.holds()
    for event in events[::-1]:
        for _ in writer(store, event):
            assert store.holds()
    listed = {(person, circle) for circle, entry in store.entries.items() for person in entry.links.persons}
    assert set(store.links) == listed


@settings(max_examples=examples(120), deadline=None)
@given(histories(), schedules, st.randoms())
def test_when_everything_arrived_links_and_truth_are_the_same(
    events: list[Event], schedule: bytes, random: Random
) -> None:
    store = Store()
    for _ in interleave([writer(store, event) for event in events], schedule):
        pass
    for event in random.sample(events, len(events)):
        for _ in writer(store, event):
            pass
    assert {(PERSONS.index(person), circle) for person, circle in store.links} == truth(events)


# --- the same on a real server, through the real scripts


class MortalWire(LocatorWire):
    """Dies after a number of edits, in the middle of a batch maybe. `at_once`: whether an entry goes in one step."""

    lives: int | None = None
    at_once = True

    @property
    def is_one_server(self) -> bool:
        return self.at_once

    async def write(self, told: Telling) -> tuple[bytes, bytes | None, frozenset[bytes]]:
        """Dies before it or, with the last of its lives, when it is done and nobody has heard of it."""
        if self.lives == 0:
            raise StoreError("federation.store")
        answer = await super().write(told)
        if self.lives is not None:
            self.lives -= 1
            if self.lives == 0:
                raise StoreError("federation.store")
        return answer

    async def run(self, script: str, edits: Sequence[Edit]) -> dict[int, Any]:
        if self.lives is None:
            return await super().run(script, edits)
        done = edits[: self.lives]
        self.lives -= len(done)
        answers = await super().run(script, done)
        if len(done) < len(edits):
            raise StoreError("federation.store")
        return answers


def who(person: int) -> Identifier:
    return "urn:x", str(person)


def sighting(event: Event) -> Sighting:
    persons = tuple(who(person) for person in event.persons or ())
    return Sighting("bre", event.circle, None, float(event.at), (("urn:c", event.circle),), persons)


async def deliver(locator: RedisLocator, event: Event) -> None:
    if event.persons is None:
        await locator.forget("bre", event.circle, at=float(event.at))
    else:
        await locator.learn([sighting(event)])


async def found(locator: RedisLocator) -> set[tuple[int, str]]:
    located = await locator.pointers([who(person) for person in range(len(PERSONS))], [])
    return {
        (person, pointer.circle_id)
        for person in range(len(PERSONS))
        for pointer in located.persons[who(person)]
    }


async def play(url: str, keys: RedisKeys, events: list[Event], lives: list[int], *, at_once: bool) -> None:
    client = connect(url)
    try:
        locator = RedisLocator(client, SystemClock(), b"a secret of the tests", expected=1, keys=keys)
        wire = MortalWire(client)
        wire.at_once = at_once
        locator._wire = wire
        locator._document._wire = wire
        arrived: list[Event] = []
        for event, life in zip(events, lives, strict=False):
            wire.lives = life
            try:
                await deliver(locator, event)
                arrived.append(event)
            except StoreError:
                pass
            wire.lives = None
            certain = {one.circle for one in arrived} - {one.circle for one in events if one not in arrived}
            holders = await locator.holders([who(person) for person in range(len(PERSONS))], [])
            for person, circle in truth(arrived):
                assert circle not in certain or holders.persons[who(person)] == {"bre"}
        await asyncio.gather(*(deliver(locator, event) for event in events))
        holders = await locator.holders([who(person) for person in range(len(PERSONS))], [])
        assert await found(locator) == truth(events)
        assert {person for person in range(len(PERSONS)) if holders.persons[who(person)]} == {
            person for person, _ in truth(events)
        }
    finally:
        await client.aclose()


@settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(histories(length=6), st.lists(st.integers(0, 9), min_size=6, max_size=6), st.booleans())
def test_the_real_index_survives_its_writers(
    valkey_server: ValkeyServer, events: list[Event], lives: list[int], at_once: bool
) -> None:
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    asyncio.run(play(valkey_server.url, keys, events, lives, at_once=at_once))


def test_an_entry_is_the_same_when_its_bytes_are() -> None:
    """What the scripts compare is bytes, what the plan compares is entries."""
    few = frozenset(PERSONS)
    assert pack_entry(Entry(1, "x", links=Links(few))) == pack_entry(
        Entry(1, "x", links=Links(frozenset(reversed(PERSONS))))
    )
