"""Whatever is written at once, with whatever version, and whatever fails: every manager is as the answers say.

A history is a list of turns; the writes of one turn run at the same time, through either of two brokers, over three
managers whose answers are lost, cut or made up on the way. The answers alone are then held against what is there:

- what was acknowledged is there: once, as the version that the answer named, whole where it was a transaction;
- what was refused is not there; what was neither may be there, once;
- a write that named a version follows that version; a write follows those that were acknowledged before it began;
- a person has one circle, over all managers;
- as soon as a write is acknowledged the other node finds its version, or a later one, by the person's identifier.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from adapters.sandbox.store import Version
from registry.redis_keys import RedisKeys
from tests.support.examples import examples
from tests.support.faulty_proxy import Fault
from tests.support.federation import Answered, outcome_codes, outcomes_of
from tests.support.fhir_builders import INS_TEST
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.write_pair import BOUND, SETTLE, Pair, pair
from tests.support.write_world import (
    PUBLIC,
    SLUGS,
    Attempt,
    Json,
    Person,
    circle,
    entry,
    located,
    matches,
    new_mark,
    new_person,
    organization,
    patient_of,
    public_id,
    transaction,
    version_of,
)

DEADLINE = 1.5
"""Seconds for a write: what nobody knows of is found out soon after."""

HOMES = (("bre", "occ"), ("occ", "idf", "bre"))
"""The managers that know each person of a history."""

FAULTS = [one for one in Fault if one is not Fault.LATE]  # it would cost a deadline each time

people = st.integers(0, len(HOMES) - 1)
nodes = st.integers(0, 1)
faults = st.one_of(st.none(), st.none(), st.none(), st.sampled_from(FAULTS))
versions = st.sampled_from(["none", "fresh", "fresh", "stale"])

_CREATE = st.tuples(st.just("create"), people, nodes, faults, st.integers(0, 2), st.booleans())
_UPDATE = st.tuples(st.just("update"), people, nodes, faults, versions)
_CHANGE = st.tuples(st.just("change"), people, nodes, faults, versions)
_WHOLE = st.tuples(st.just("whole"), people, nodes, faults, st.integers(0, 2))
_ACTOR = st.tuples(st.just("actor"), people, nodes, faults, st.integers(0, 2))
TURN = st.lists(
    st.one_of(_CREATE, _UPDATE, _UPDATE, _UPDATE, _CHANGE, _WHOLE, _ACTOR), min_size=1, max_size=4
)


@dataclass
class Done:
    """One write: what was asked, between which turns, and how it was answered."""

    mark: str
    turn: int
    kind: str
    person: Person | None
    slug: str | None = None  # where a circle-less actor goes
    whole: bool = False  # a transaction: circle and structure
    if_match: str | None = None
    target: str | None = None  # the circle that it updates
    answer: Answered | None = None
    identity: str | None = None  # by the answer
    version: str | None = None

    @property
    def name(self) -> str:
        """What it gives its resource. The identifier of a circle keeps the mark of its creation."""
        return f"{'Cercle' if self.kind == 'CareTeam' else 'Cabinet'} {self.mark}"

    @property
    def acknowledged(self) -> bool:
        return self.answer is not None and self.answer.status in (200, 201)

    @property
    def unknown(self) -> bool:
        return self.answer is None or self.answer.status == 504

    def __str__(self) -> str:
        status = None if self.answer is None else self.answer.status
        return f"{self.turn}:{self.mark} {self.kind} {self.target or ''} {self.if_match or ''} -> {status}"


@dataclass
class History:
    world: Pair
    persons: list[Person]
    turn: int = 0
    done: list[Done] = field(default_factory=list)
    circles: dict[int, str] = field(
        default_factory=dict
    )  # public ids that were acknowledged or named, by person

    @classmethod
    async def of(cls, world: Pair) -> History:
        await world.healthy()
        persons = [new_person(*at) for at in HOMES]
        await world.managers.know(*persons)
        return cls(world, persons)

    async def run(self, turn: list[tuple[Any, ...]]) -> None:
        self.turn += 1
        held = dict(self.circles)
        async with asyncio.TaskGroup() as group:
            for name, *arguments in turn:
                group.create_task(getattr(self, f"_{name}")(held, *arguments))

    # --- the writes

    async def _create(
        self, held: dict[int, str], who: int, node: int, fault: Fault | None, at: int, foreign: bool
    ) -> None:
        person, mark = self.persons[who], new_mark("c")
        slug = person.at[at % len(person.at)]
        members = ["Organization/idf.org"] if foreign else []
        done = Done(mark, self.turn, "CareTeam", person)
        await self._send(
            done, node, fault, "POST", "CareTeam", circle(person.subject(slug), mark, members=members)
        )
        self._remember(who, done)

    async def _whole(self, held: dict[int, str], who: int, node: int, fault: Fault | None, at: int) -> None:
        """A transaction that creates a circle and a structure in it; the Patient is there, or not, under a condition."""
        person, mark = self.persons[who], new_mark("t")
        slug = person.at[at % len(person.at)]
        team, patient, structure = (f"urn:uuid:{uuid.uuid4()}" for _ in range(3))
        known = f"identifier={quote(INS_TEST)}%7C{person.ins}"
        bundle = transaction(
            entry("POST", "CareTeam", circle(patient, mark, members=[structure]), team),
            entry("POST", "Patient", patient_of(person.number), patient, ifNoneExist=known),
            entry("POST", "Organization", organization(mark), structure),
        )
        done = Done(mark, self.turn, "CareTeam", person, whole=True)
        await self._send(done, node, fault, "POST", "", bundle, {"X-Gestionnaire": slug})
        self._remember(who, done)

    async def _update(
        self, held: dict[int, str], who: int, node: int, fault: Fault | None, version: str
    ) -> None:
        if (identity := held.get(who)) is None:
            return
        done = Done(new_mark("u"), self.turn, "CareTeam", self.persons[who], target=identity)
        done.if_match = await self._version(identity, version)
        headers = {} if done.if_match is None else {"If-Match": f'W/"{done.if_match}"'}
        body = self._circle(identity, who, done.mark)
        await self._send(done, node, fault, "PUT", f"CareTeam/{identity}", body, headers)

    async def _change(
        self, held: dict[int, str], who: int, node: int, fault: Fault | None, version: str
    ) -> None:
        """A transaction that updates a circle and creates a structure in it."""
        if (identity := held.get(who)) is None:
            return
        mark, structure = new_mark("t"), f"urn:uuid:{uuid.uuid4()}"
        done = Done(mark, self.turn, "CareTeam", self.persons[who], whole=True, target=identity)
        done.if_match = await self._version(identity, version)
        condition = {} if done.if_match is None else {"ifMatch": f'W/"{done.if_match}"'}
        body = self._circle(identity, who, mark)
        body["participant"] = [{"member": {"reference": structure}, "period": {"start": "2025-02-01"}}]
        bundle = transaction(
            entry("PUT", f"CareTeam/{identity}", body, f"{PUBLIC}/CareTeam/{identity}", **condition),
            entry("POST", "Organization", organization(mark), structure),
        )
        await self._send(done, node, fault, "POST", "", bundle)

    async def _actor(self, held: dict[int, str], who: int, node: int, fault: Fault | None, at: int) -> None:
        mark, slug = new_mark("o"), SLUGS[at]
        done = Done(mark, self.turn, "Organization", None, slug=slug)
        headers = {"X-Gestionnaire": slug}
        await self._send(done, node, fault, "POST", "Organization", organization(mark), headers)

    def _circle(self, identity: str, who: int, mark: str) -> Json:
        person = self.persons[who]
        slug, _, local = identity.partition(".")
        first = self.world.stores[slug].versions("CareTeam", local)[0].content
        subject = person.subject(slug)
        return {"id": identity, **circle(subject, mark, identifier=first["identifier"][0]["value"])}

    async def _version(self, identity: str, which: str) -> str | None:
        """What `If-Match` is to say. Stale is one before the current one: 0 before the first."""
        if which == "none":
            return None
        slug, _, local = identity.partition(".")
        current = self.world.stores[slug].versions("CareTeam", local)[-1].number
        return str(current if which == "fresh" else current - 1)

    async def _send(
        self,
        done: Done,
        node: int,
        fault: Fault | None,
        method: str,
        path: str,
        body: Json,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.done.append(done)
        if fault is not None:
            for proxy in self.world.proxies.values():
                proxy.hold = SETTLE / 2
                proxy.faults[done.name] = fault
        done.answer = await self.world.nodes[node].tried(method, path, body, headers)
        for proxy in self.world.proxies.values():
            proxy.faults.pop(done.name, None)
        if done.acknowledged:
            done.identity, done.version = _named(done)
            await self._is_found(done, 1 - node)

    async def _is_found(self, done: Done, node: int) -> None:
        """Read-your-writes, through the other node."""
        assert done.identity is not None
        assert done.version is not None
        asked, person = self.world.nodes[node], done.person
        if person is None:
            read = await _reached(lambda: asked.send("GET", f"Organization/{done.identity}"))
            assert read.status == 200, done
            return
        answered = await _reached(lambda: asked.search_circles(person))
        assert answered.status == 200, answered.body
        [found] = matches(answered)
        assert found["id"] == done.identity, done
        assert int(found["meta"]["versionId"]) >= int(done.version), done

    def _remember(self, who: int, done: Done) -> None:
        assert done.answer is not None
        named = done.identity if done.acknowledged else None
        if done.answer.status == 409:
            named = located(done.answer)
        if named is not None:
            assert self.circles.setdefault(who, named) == named, done

    # --- what must then hold

    async def check(self) -> None:
        for proxy in self.world.proxies.values():
            await proxy.quiet()
        for person in self.persons:
            await self._has_one_circle(person)
        for done in self.done:
            self._check_presence(done)
        self._check_order()

    async def _has_one_circle(self, person: Person) -> None:
        """A further creation is told of it, or makes it, within the bound; there is never a second one."""
        attempt = Attempt(person, self.world.nodes)
        async with asyncio.timeout(BOUND):
            while True:
                answered = await attempt.create(random.randrange(2), person.at[0])
                assert answered is not None
                if answered.status in (201, 409) and (named := located(answered)) is not None:
                    break
                assert answered.status in (409, 503, 504), answered.body
                await asyncio.sleep(0.05)
        assert await self.world.managers.circles_of(person) == [named]
        acknowledged = {one.identity for one in self.done if one.person is person and one.acknowledged}
        assert acknowledged <= {named}

    def _places(self, done: Done) -> list[tuple[str, Version]]:
        found = self.world.written(done.kind, done.name)
        return [(slug, one) for slug, written in found.items() for one in written]

    def _check_presence(self, done: Done) -> None:
        places = self._places(done)
        assert len(places) <= 1, f"twice: {done}"
        assert self.world.reached(done.name) <= 1, f"sent twice: {done}"
        if done.whole:
            structures = self.world.written("Organization", done.mark)
            assert sum(map(len, structures.values())) == len(places), f"half of {done}"
        if done.acknowledged:
            [(slug, version)] = places
            assert (f"{slug}.{version.id}", version.version_id) == (done.identity, done.version), done
        elif not done.unknown:
            assert not places, f"refused, and there: {done}"
        if places and done.target is not None:
            [(slug, version)] = places
            assert f"{slug}.{version.id}" == done.target
            if done.if_match is not None:
                assert version.number == int(done.if_match) + 1, f"it follows another version: {done}"
        if places and done.slug is not None:
            assert places[0][0] == done.slug

    def _check_order(self) -> None:
        """What was acknowledged in an earlier turn lies before what was asked in a later one."""
        by_circle: dict[str, list[tuple[int, Done]]] = {}
        for done in self.done:
            for slug, version in self._places(done):
                by_circle.setdefault(f"{slug}.{version.id}", []).append((version.number, done))
        for written in by_circle.values():
            for (number, one), (other_number, other) in itertools.permutations(written, 2):
                if one.acknowledged and one.turn < other.turn:
                    assert number < other_number, f"{one} lies after {other}"


async def _reached(ask: Callable[[], Awaitable[Answered]]) -> Answered:
    """An answer of managers that were asked.

    Two writes that fail shut a node's breaker before the manager until its probe comes through. Until then the node
    says so, which is no answer to whether it knows of another write.
    """
    async with asyncio.timeout(BOUND):
        while True:
            answered = await ask()
            told = outcome_codes(answered.json) if outcomes_of(answered.json) else []
            if "manager.breaker-open" not in [key for key, _ in told]:
                return answered
            await asyncio.sleep(0.02)


def _named(done: Done) -> tuple[str, str]:
    """The public id and the version that an acknowledgement names."""
    assert done.answer is not None
    if not done.whole:
        return located(done.answer, done.kind) or done.answer.json["id"], version_of(done.answer)
    [response] = [
        one["response"] for one in done.answer.json["entry"] if "CareTeam/" in one["response"]["location"]
    ]
    location = response["location"]
    version = location.partition("/_history/")[2]
    return public_id(location if "://" in location else f"{PUBLIC}/{location}"), version


Turn = list[tuple[Any, ...]]
Play = Callable[[list[Turn]], None]


@pytest.fixture(scope="module")
def play(valkey_server: ValkeyServer) -> Iterator[Play]:
    """What plays histories, in one federation; each has people of its own."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        valkey = Valkey(valkey_server.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
        world = runner.run(stack.enter_async_context(pair(valkey, write_deadline=DEADLINE)))
        yield lambda turns: runner.run(_played(world, turns))
        runner.run(stack.aclose())


@pytest.mark.timeout(300)
@settings(
    max_examples=examples(12),
    deadline=None,
    # What fails here hangs on instants: a smaller history would be another one.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(turns=st.lists(TURN, min_size=1, max_size=8))
def test_every_manager_is_as_the_answers_say(play: Play, turns: list[Turn]) -> None:
    play(turns)


async def _played(world: Pair, turns: list[Turn]) -> None:
    history = await History.of(world)
    try:
        for turn in turns:
            await history.run(turn)
        await history.check()
    except BaseException:
        print(*history.done, sep="\n")
        raise
