"""Nothing about a person, and no secret, is where it does not belong (federation, section 7).

A broker of its own process at debug level, its store, managers, a region's agent and a subscriber are driven through every
interaction, well, badly and amid faults. Then all that they wrote and sent is searched for every seeded value in every form.
What holds data by design is listed in `tests.support.leak_evidence`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.leak_drive import everything, searches
from tests.support.leak_evidence import asked_as, evidence, queries, trail
from tests.support.leak_people import GIVEN
from tests.support.leak_world import LeakWorld, leak_world
from tests.support.leaks import Source, leaks, told

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Driven:
    world: LeakWorld
    sources: list[Source]

    def of(self, *begin: str) -> list[Source]:
        return [one for one in self.sources if one.name.startswith(begin)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driven(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Driven]:
    async with leak_world(tmp_path_factory.mktemp("leaks")) as world:
        await everything(world)
        yield Driven(world, evidence(world))


KINDS = {
    "logs": ("log of",),
    "pages and titles": ("page", "process titles"),
    "answers": ("answer",),
    "managers": ("addresses at", "headers at"),
    "subscribers": ("subscriber",),
    "the store": ("key in Redis", "Redis"),
    "files": ("file",),
    "the trail": ("trail",),
    "traces": ("spans of cds-broker", "spans of cds-broker-agent", "spans, headers"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_of_a_person_is_there(driven: Driven, kind: str) -> None:
    sources = driven.of(*KINDS[kind])
    assert sum(len(one.data) for one in sources) > 100
    found = leaks(sources, driven.world.cast.seeds)
    assert not found, told(found)


async def test_the_user_is_named_in_the_trail_alone(driven: Driven) -> None:
    user = driven.world.cast.user.seeds
    found = leaks([one for one in driven.sources if one.name != "trail"], user)
    assert not found, told(found)
    named = {one.seed for one in leaks(driven.of("trail"), user)}
    assert named == {"user.given", "user.family", "user.number"}


async def test_everything_was_looked_at(driven: Driven) -> None:
    """What is searched is there, and so is what could have leaked: the search is not of nothing."""
    names = {one.name for one in driven.sources}
    assert [begin for some in KINDS.values() for begin in some if not any(map(starting(begin), names))] == []
    assert len(driven.of("log of the broker")[0].data.splitlines()) > 50
    titles = driven.of("process titles")[0].data
    assert b"valkey" in titles
    spans = {one.name for one in driven.world.collector.spans}
    assert {"publish change", "apply change", "post notification", "audit", "fan-out", "merge"} <= spans
    assert {f"{one} /fhir/{{type}}" for one in ("GET", "POST")} <= spans
    assert b"serve\0--port" in titles
    assert b"sync\0agent" in titles
    answered = Counter(one.answered.status for one in driven.world.asked)
    assert {200, 201, 400, 401, 403, 404, 405, 406, 409, 412, 415, 422, 503} - set(answered) == set()
    sent = b"\n".join(
        b"%b\n%b\n%b" % (one.target.encode(), one.body, repr(one.headers).encode())
        for one in driven.world.asked
    )
    used = {one.seed for one in leaks([Source("sent", sent)], driven.world.cast.seeds)}
    unsent = {name for name in driven.world.cast.people if "held" not in name and "plain" not in name} - used
    assert unsent == {"carer.birth", "structure.birth"}  # they have none
    assert {f"sent.{name}" for name in GIVEN} - used == set()


def starting(begin: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(begin)


async def test_what_the_trail_says_was_asked_is_what_was_asked(driven: Driven) -> None:
    asked = set().union(*(asked_as(one) for one in driven.world.asked))
    found = queries(driven.world)
    assert len(found) > 50
    assert [one for one in found if one not in asked] == []
    people = leaks([Source("query", b"\n".join(found))], driven.world.cast.people)
    assert {"held patient.number", "held patient.family"} <= {one.seed for one in people}


async def test_every_access_left_its_trace(driven: Driven) -> None:
    assert len(trail(driven.world)) > 100


async def test_a_planted_leak_is_found(tmp_path: Path) -> None:
    """The same broker, with a line too many in the log, in a file, in the store, in its metrics and its title."""
    async with leak_world(tmp_path, module="tests.support.leaking_broker", sync="false") as world:
        await world.covered()
        await searches(world)
        await world.look()
        await world.broker.stopped()
        found = leaks(evidence(world), world.cast.seeds)
    where = {one.source.partition(" (")[0] for one in found}
    assert {"log of the broker", "file tmp/planted", "page", "process titles", "spans of cds-broker"} <= where
    assert any(one.startswith("Redis planted") for one in where)
    assert any(one.startswith("Redis, as it was written") for one in where)
    assert {"clear", "base64", "hex", "sha256"} <= {one.form for one in found}
