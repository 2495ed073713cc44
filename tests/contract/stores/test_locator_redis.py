"""What only the real index can show: secrets and their rotation, a store that is lost, what a dump of it reveals."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from adapters.clock import SystemClock
from adapters.sandbox.seed import seed_region
from broker.errors import StoreError
from registry.locator import RedisLocator
from registry.locator_hash import Kind
from registry.locator_index import MAX_IDENTIFIERS
from registry.locator_model import Coverage, CoverageState, Identifier, Sighting
from registry.locator_wire import LocatorWire
from registry.model import REGIONS
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from tests.support.fake_clock import FakeClock
from tests.support.valkey import Valkey, ValkeyServer

SECRET, NEXT = b"a secret of the tests", b"the next secret of the tests"
ALICE: Identifier = ("urn:oid:1.2.250.1.213.1.4.10", "255069999999934")
CIRCLE: Identifier = ("urn:oid:1.2.250.1.999.1", "CDS-000001")


@pytest.fixture
async def client(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url)
    yield client
    await client.aclose()


def seen(
    manager: str = "bre", circle_id: str = "cercle-1", who: Identifier = ALICE, **elements: Any
) -> Sighting:
    told = {"version": "1", "last_updated": 1000.0, "identifiers": (CIRCLE,), "persons": (who,), **elements}
    return Sighting(manager, circle_id, **told)


async def complete(locator: RedisLocator, manager: str = "bre") -> bool:
    newest = [one for one in await locator.generations() if one.ours][-1]
    return await locator.save_coverage(
        manager, Coverage(CoverageState.COMPLETE, 1.0, generation=newest.number)
    )


async def held(locator: RedisLocator, who: Identifier = ALICE) -> set[str]:
    return set((await locator.holders([who], [])).persons[who])


async def calls(client: Any, command: str) -> int:
    stats = await client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def keys_of(client: Any, keys: RedisKeys) -> set[str]:
    return {key.decode() async for key in client.scan_iter(f"{keys.prefix}:*")}


# --- secrets


async def test_the_next_secret_takes_over_without_a_gap(client: Any, valkey: Valkey) -> None:
    keys = valkey.keys
    old = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=keys)
    await old.learn([seen()])
    await complete(old)
    new = RedisLocator(client, SystemClock(), NEXT, previous=[SECRET], expected=1, keys=keys)
    assert await held(new) == {"bre"}
    assert (await new.coverage())["bre"].state is CoverageState.COMPLETE
    first, second = await new.generations()
    assert (first.ours, second.ours) == (True, True)
    assert first.key_id != second.key_id
    # Nodes with the old configuration go on, and what they learn the crawl of the new generation brings.
    await old.learn([seen("pdl", "2")])
    assert await held(old) == await held(new) == {"bre", "pdl"}
    await new.learn([seen(), seen("pdl", "2"), seen("idf", "3")])
    assert await held(old) == {"bre", "pdl", "idf"}
    assert [one.ours for one in await old.generations()] == [True, False]
    await complete(new)
    assert await new.superseded(["bre"]) == [first.number]
    assert await old.superseded(["bre"]) == []
    await new.drop_generation(first.number, grace=0)
    assert await held(new) == {"bre", "pdl", "idf"}
    assert await held(old) == set()
    assert await old.coverage() == {}, "who cannot read the index must ask everybody"
    assert not any(f":{first.number:x}" in key for key in await keys_of(client, keys))


async def test_a_node_with_a_strange_secret_knows_nothing_and_does_no_harm(
    client: Any, valkey: Valkey
) -> None:
    right = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    await right.learn([seen()])
    await complete(right)
    wrong = RedisLocator(client, SystemClock(), b"not the secret at all", expected=1, keys=valkey.keys)
    before = await keys_of(client, valkey.keys)
    await wrong.learn([seen("pdl", "2")])
    await wrong.forget("bre", "cercle-1", at=2000.0)
    found = await wrong.holders([ALICE], [CIRCLE])
    assert (found.persons[ALICE], found.circles[CIRCLE], found.coverage) == (frozenset(), frozenset(), {})
    assert [one.ours for one in await wrong.generations()] == [False]
    assert await keys_of(client, valkey.keys) == before
    assert await held(right) == {"bre"}


async def test_several_nodes_begin_one_generation(client: Any, valkey: Valkey) -> None:
    nodes = [RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys) for _ in range(6)]
    await asyncio.gather(*(node.learn([seen(circle_id=str(n))]) for n, node in enumerate(nodes)))
    assert {one.number for node in nodes for one in await node.generations()} == {
        (await nodes[0].generations())[0].number
    }
    located = await nodes[3].pointers([ALICE], [])
    assert {one.circle_id for one in located.persons[ALICE]} == {str(n) for n in range(6)}


# --- a store that is lost


async def test_an_emptied_store_covers_nobody_and_old_news_of_it_count_for_nothing(
    own_valkey: ValkeyServer,
) -> None:
    client: Any = connect(own_valkey.url)
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1)
    await locator.learn([seen()])
    await complete(locator)
    generation = (await locator.generations())[-1].number
    fence = await locator.lead("bre", "one", seconds=30)
    await client.flushall()
    found = await locator.holders([ALICE], [])
    assert (found.persons[ALICE], found.coverage) == (frozenset(), {})
    late = Coverage(CoverageState.COMPLETE, 2.0, fence=fence or 0, generation=generation)
    assert not await locator.save_coverage("bre", late)
    await locator.learn([seen()])
    assert not await locator.save_coverage("bre", late)
    assert await locator.coverage() == {}
    assert await held(locator) == {"bre"}
    after = await locator.lead("bre", "two", seconds=30)
    assert after is not None
    assert fence is not None
    assert after > fence, "tokens grow over the loss, so that nobody from before is taken for the leader"
    await client.aclose()


async def test_a_store_that_is_emptied_while_somebody_learns_is_learnt_to_again(
    own_valkey: ValkeyServer,
) -> None:
    client: Any = connect(own_valkey.url)
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1)
    await locator.learn([seen(circle_id="0")])

    class Flushing(LocatorWire):
        flushed = False

        async def run(self, script: str, edits: Any) -> Any:
            answers = await super().run(script, edits)
            if not self.flushed:
                self.flushed = True
                await client.flushall()
            return answers

        async def write(self, told: Any) -> Any:
            if not self.flushed:
                self.flushed = True
                await client.flushall()
            return await super().write(told)

    for sightings in ([seen()], [seen(), seen(circle_id="2")]):  # in one step, and in several
        locator._document._wire = wire = Flushing(client)
        locator._document._view = None
        await locator.learn(sightings)
        assert wire.flushed
        assert await held(locator) == {"bre"}
    await client.aclose()


async def test_a_killed_server_says_so_and_what_it_acknowledged_is_there_again(
    own_valkey: ValkeyServer,
) -> None:
    client: Any = connect(own_valkey.url)
    await client.config_set("appendfsync", "always")
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1)
    await locator.learn([seen()])
    await complete(locator)
    own_valkey.kill()
    for call in (
        locator.holders([ALICE], []),
        locator.pointers([ALICE], []),
        locator.learn([seen()]),
        locator.forget("bre", "1", at=None),
        locator.coverage(),
        locator.save_coverage("bre", Coverage()),
        locator.lead("bre", "one", seconds=1),
        locator.conflicts(),
        locator.clear("bre"),
    ):
        with pytest.raises(StoreError):
            await call
    own_valkey.restart()
    assert await held(locator) == {"bre"}
    assert (await locator.coverage())["bre"].state is CoverageState.COMPLETE
    await client.aclose()


async def test_a_document_that_is_none_is_a_fault_of_the_store(client: Any, valkey: Valkey) -> None:
    await client.set(valkey.keys.locator_state, b"{nonsense")
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    with pytest.raises(StoreError):
        await locator.holders([ALICE], [])


async def test_who_became_complete_during_the_look_up_is_looked_up_again(client: Any, valkey: Valkey) -> None:
    """On a cluster a bucket may be read before the document: then the circle it lacks must not count as absent."""
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    other = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    await locator.learn([seen("pdl", "9", who=CIRCLE)])
    await locator.holders([ALICE], [])

    class BucketsFirst(LocatorWire):
        reads = 0

        async def read(self, keys: Any) -> list[bytes | None]:
            self.reads += 1
            buckets = await super().read(keys[1:])
            if self.reads == 1:
                await other.learn([seen()])
                await complete(other)
            return [*await super().read(keys[:1]), *buckets]

    locator._wire = wire = BucketsFirst(client)
    found = await locator.holders([ALICE], [])
    assert found.persons[ALICE] == {"bre"}
    assert found.coverage["bre"].state is CoverageState.COMPLETE
    assert wire.reads > 1


# --- bounds


async def test_a_look_up_is_one_round_trip(client: Any, valkey: Valkey) -> None:
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    await locator.learn([seen()])
    await locator.holders([ALICE], [])
    before = (await client.info("stats"))["total_commands_processed"]
    await locator.holders([ALICE, ("urn:x", "1")], [CIRCLE])
    after = (await client.info("stats"))["total_commands_processed"]
    assert after - before == 2, "one MGET, and the INFO before it"


async def test_a_new_circle_is_learnt_in_one_round_trip_a_known_one_in_two(
    client: Any, valkey: Valkey
) -> None:
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    await locator.learn([seen()])
    for sighting, exchanges in (
        (seen(circle_id="2", who=("urn:c", "2"), persons=()), 1),
        (seen(version="2"), 2),
    ):
        before = await calls(client, "evalsha")
        await locator.learn([sighting])
        assert await calls(client, "evalsha") - before == exchanges


async def test_too_much_is_refused_rather_than_kept_in_part(client: Any, valkey: Valkey) -> None:
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    many = tuple(("urn:x", str(number)) for number in range(MAX_IDENTIFIERS))
    with pytest.raises(StoreError, match="too-many-identifiers"):
        await locator.learn([seen(), seen(circle_id="2", persons=many)])
    with pytest.raises(StoreError, match="too-many-identifiers"):
        await locator.learn([seen(circle_id="x" * 129)])
    assert await held(locator) == set()
    await locator.learn([seen(persons=many[1:]), seen(circle_id="2", version="v" * 500)])
    await locator.forget("bre", "cercle-1", at=2000.0)
    located = await locator.pointers([ALICE, many[-1]], [])
    assert [one.version for one in located.persons[ALICE]] == [None]
    assert located.persons[many[-1]] == ()


async def test_an_entry_does_not_gather_without_end(client: Any, valkey: Valkey) -> None:
    """A manager that dates every other sighting, with other people each time."""
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    await locator.learn([seen(last_updated=1.0), seen("pdl", "2")])

    async def gather() -> None:
        for number in range(20):
            many = tuple(("urn:x", f"{number}/{one}") for one in range(MAX_IDENTIFIERS - 1))
            await locator.learn([seen(last_updated=None, persons=many)])

    with pytest.raises(StoreError, match="too-many-identifiers"):
        await gather()
    assert await held(locator) == {"bre", "pdl"}


async def test_managers_without_end_are_refused(client: Any, valkey: Valkey) -> None:
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    await locator.learn([seen(f"m{number}") for number in range(255)])
    with pytest.raises(StoreError, match="too-many-managers"):
        await locator.learn([seen("z")])
    assert len(await held(locator)) == 255
    await locator.clear("m7")
    await locator.learn([seen("z", "2")])
    assert await held(locator) == {f"m{number}" for number in range(255) if number != 7} | {"z"}


async def test_old_deletions_are_forgotten(client: Any, valkey: Valkey) -> None:
    clock = FakeClock()
    locator = RedisLocator(client, clock, SECRET, expected=1, keys=valkey.keys)
    index = (await locator.generations())[-1]
    assert index.ours

    async def size() -> int:
        names = [
            name for name in await keys_of(client, valkey.keys) if f"{index.number:x}{Kind.ENTRIES}" in name
        ]
        return sum([await client.strlen(name) for name in names])

    async def deleted(numbers: range) -> None:
        for start in numbers[::50]:
            await asyncio.gather(
                *(locator.forget("bre", str(number), at=1000.0) for number in range(start, start + 50))
            )

    await deleted(range(10_000, 11_000))
    full = await size()
    await clock.advance(6 * 86_400)
    await deleted(range(11_000, 12_000))
    assert await size() == 2 * full
    await clock.advance(2 * 86_400)
    await deleted(range(12_000, 13_000))
    assert await size() < 2.2 * full


# --- what a dump reveals


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def personal(resource: dict[str, Any]) -> set[str]:
    """Every value of an identifier, name, address, telephone or birth of a resource."""
    told = [one.get("value") for one in resource.get("identifier", [])]
    told += [resource.get(element) for element in ("name", "address", "telecom", "birthDate")]
    return {text for one in told for text in _strings(one) if len(text) >= 4}


def spellings(text: str) -> Iterator[bytes]:
    raw = text.encode()
    for one in {raw, raw.lower(), raw.upper()}:
        yield one
        yield one.hex().encode()
        yield one.hex().upper().encode()
        for shift in range(
            3
        ):  # base64 of it inside a longer text: its middle, at each of the three alignments
            middle = base64.b64encode(b"\0" * shift + one)[4 if shift else 0 :]
            yield middle[: len(middle) // 4 * 4 - 4] if len(middle) > 8 else middle
    if text.isdigit():
        yield int(text).to_bytes((int(text).bit_length() + 7) // 8 or 1, "big")
        yield int(text).to_bytes((int(text).bit_length() + 7) // 8 or 1, "little")


async def dump(client: Any, keys: RedisKeys) -> bytes:
    out = []
    async for key in client.scan_iter(f"{keys.prefix}:*"):
        out.append(key)
        kind = await client.type(key)
        if kind == b"string":
            out.append(await client.get(key))
        elif kind == b"set":
            out += sorted(await client.smembers(key))
        else:
            raise AssertionError(kind)
    return b"\n".join(out)


async def test_a_dump_of_the_store_reveals_nobody(client: Any, valkey: Valkey) -> None:
    locator = RedisLocator(client, SystemClock(), SECRET, expected=1, keys=valkey.keys)
    values: set[str] = set()
    circles: set[str] = set()
    sightings = []
    for region in sorted(REGIONS)[:4]:
        resources = seed_region(region, 40, clock=FakeClock())
        people = {f"Patient/{one['id']}": one for one in resources if one["resourceType"] == "Patient"}
        for one in resources:
            values |= personal(one)
            if one["resourceType"] != "CareTeam":
                continue
            circles.add(one["id"])
            subject = people[one["subject"]["reference"]]
            ids = [
                tuple((each["system"], each["value"]) for each in who.get("identifier", []))
                for who in (one, subject)
            ]
            sightings.append(Sighting(f"r-{region}", one["id"], "1", 1000.0, ids[0], ids[1]))
    await locator.learn(sightings)
    await locator.learn([seen("other", "c", who=sightings[0].persons[0], identifiers=())])  # a conflict, too
    await complete(locator, "r-01")
    await locator.lead("r-01", "node", seconds=60)
    await locator.forget("r-01", sightings[0].circle_id, at=2000.0)
    assert len(await locator.conflicts()) == 0
    await locator.learn([seen("other2", "c", who=sightings[-1].persons[0], identifiers=())])
    assert len(await locator.conflicts()) == 1
    raw = await dump(client, valkey.keys)
    assert len(values) > 1000
    assert all(circle.encode() in raw for circle in circles), "the search would find what is there"
    found = {text for text in values for one in spellings(text) if len(one) >= 5 and one in raw}
    assert found == set()


def test_the_search_of_the_dump_would_find_each_spelling() -> None:
    who = "255069999999934"
    for told in (
        who.encode(),
        who.encode().hex().encode(),
        base64.b64encode(f"urn:x|{who}".encode()),
        base64.b64encode(f"urn:xy|{who}|".encode()),
        base64.b64encode(f"urn:xyz|{who}||".encode()),
        int(who).to_bytes(7, "big"),
    ):
        assert any(one in b"before" + told + b"after" for one in spellings(who)), told
    assert personal({"identifier": [{"system": "urn:x", "value": who}], "name": [{"family": "Ducros"}]}) == {
        who,
        "Ducros",
    }
    assert not any(one in b"255069999999935, and other people's" for one in spellings(who))
