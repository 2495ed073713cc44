"""What the locator's index must do: run on the fake, on a real server and on a cluster."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from adapters.clock import SystemClock
from registry.locator import RedisLocator
from registry.locator_model import Coverage, CoverageState, Identifier, Pointer, Sighting
from registry.ports import Locator
from registry.redis_connection import connect
from registry.redis_keys import RedisKeys
from tests.contract.stores.conftest import KINDS
from tests.support.fake_locator import FakeLocator
from tests.support.waiting import until

INS = "urn:oid:1.2.250.1.213.1.4.10"
ALICE: Identifier = (INS, "255069999999934")
ALICE_BEFORE: Identifier = ("urn:oid:1.2.250.1.213.1.4.9", "255069999999990")
BRUNO: Identifier = (INS, "180077511111141")
FIRST: Identifier = ("urn:oid:1.2.250.1.999.1", "CDS-000001")
OTHER: Identifier = ("urn:oid:1.2.250.1.999.1", "CDS-000002")


@pytest.fixture(params=KINDS)
async def locator(request: pytest.FixtureRequest) -> AsyncIterator[Locator]:
    if request.param == "fake":
        yield FakeLocator(SystemClock())
        return
    if request.param == "valkey":
        url = request.getfixturevalue("valkey_server").url
    else:
        url = request.getfixturevalue("valkey_cluster")
    client = connect(url)
    keys = RedisKeys(f"t{uuid.uuid4().hex[:12]}")
    yield RedisLocator(client, SystemClock(), b"a secret of the tests", expected=1000, keys=keys)
    await client.aclose()


def seen(
    manager: str = "bre",
    circle_id: str = "cercle-1",
    *,
    at: float | None = 1000.0,
    persons: Sequence[Identifier] = (ALICE,),
    identifiers: Sequence[Identifier] = (FIRST,),
    version: str | None = "1",
    replica: bool = False,
) -> Sighting:
    return Sighting(manager, circle_id, version, at, tuple(identifiers), tuple(persons), replica)


async def holding(locator: Locator, *persons: Identifier) -> list[set[str]]:
    found = await locator.holders(persons, [])
    return [set(found.persons[who]) for who in persons]


async def of_circle(locator: Locator, which: Identifier) -> set[str]:
    return set((await locator.holders([], [which])).circles[which])


async def pointers(locator: Locator, who: Identifier) -> list[tuple[str, str, str | None, bool]]:
    found = (await locator.pointers([who], [])).persons[who]
    return sorted((one.manager, one.circle_id, one.version, one.replica) for one in found)


async def test_an_empty_index_knows_nobody_and_covers_nobody(locator: Locator) -> None:
    found = await locator.holders([ALICE], [FIRST])
    assert (found.persons, found.circles, found.coverage) == (
        {ALICE: frozenset()},
        {FIRST: frozenset()},
        {},
    )
    where = await locator.pointers([ALICE], [FIRST])
    assert (where.persons, where.circles) == ({ALICE: ()}, {FIRST: ()})
    assert await locator.coverage() == {}
    assert await locator.conflicts() == []
    await locator.forget("bre", "cercle-1", at=None)
    await locator.learn([])


async def test_what_was_seen_is_found_by_person_and_by_circle(locator: Locator) -> None:
    await locator.learn([seen(), seen("pdl", "7", persons=[BRUNO], identifiers=[OTHER])])
    assert await holding(locator, ALICE, BRUNO) == [{"bre"}, {"pdl"}]
    assert await of_circle(locator, FIRST) == {"bre"}
    assert await pointers(locator, ALICE) == [("bre", "cercle-1", "1", False)]
    assert (await locator.pointers([], [OTHER])).circles[OTHER][0].circle_id == "7"


@pytest.mark.parametrize(
    "circle_id", ["1", "0", "007", "x" * 64, "9" * 30, "A.b-C", "7f1d2c0e-58b3-4c1f-9a53-0d6b1f0c9a11", "é"]
)
@pytest.mark.parametrize(
    "version", ["1", "0", "12345678", "W/1", "00", "2b6a9a52-1f0d-4a8f-8d0e-6c1d0c5e7b3f", None]
)
async def test_ids_and_versions_come_back_as_they_were(
    locator: Locator, circle_id: str, version: str | None
) -> None:
    await locator.learn([seen(circle_id=circle_id, version=version)])
    assert await pointers(locator, ALICE) == [("bre", circle_id, version, False)]


async def test_all_identifiers_of_a_person_lead_to_the_circle(locator: Locator) -> None:
    await locator.learn([seen(persons=[ALICE, ALICE_BEFORE])])
    assert await holding(locator, ALICE_BEFORE, ALICE) == [{"bre"}, {"bre"}]


async def test_copies_of_a_circle_are_found_by_its_id(locator: Locator) -> None:
    await locator.learn(
        [
            seen(identifiers=(FIRST, OTHER)),
            seen("nor", "77", replica=True),
            seen("occ", "78", identifiers=(OTHER,), replica=True),
            seen("occ", "79", identifiers=(("urn:oid:1.2.250.1.999.1", "CDS-000003"),)),
            seen("idf", "80", identifiers=()),
        ]
    )

    async def copies(manager: str, circle_id: str) -> list[tuple[str, str, bool]]:
        pointers, coverage = await locator.copies(manager, circle_id)
        assert coverage == {}
        return sorted((one.manager, one.circle_id, one.replica) for one in pointers)

    assert await copies("bre", "cercle-1") == [("nor", "77", True), ("occ", "78", True)]
    assert await copies("nor", "77") == [("bre", "cercle-1", False)]
    for alone in (("occ", "79"), ("idf", "80"), ("bre", "cercle-9"), ("xyz", "cercle-1")):
        assert await copies(*alone) == []
    await locator.forget("bre", "cercle-1", at=None)
    assert await copies("bre", "cercle-1") == []


async def test_case_and_blanks_of_an_identifier_do_not_count(locator: Locator) -> None:
    await locator.learn([seen(persons=[("urn:x", " aBc ")])])
    assert await holding(locator, ("urn:x", "AbC"), ("URN:X ", "abc"), ("urn:x", "ab")) == [
        {"bre"},
        {"bre"},
        set(),
    ]


async def test_a_subject_without_identifier_has_a_circle_all_the_same(locator: Locator) -> None:
    await locator.learn([seen(persons=[])])
    assert await of_circle(locator, FIRST) == {"bre"}


async def test_the_newer_sighting_stays_whatever_comes_first(locator: Locator) -> None:
    old = seen(at=1000.0, persons=[BRUNO], version="1", identifiers=[OTHER])
    new = seen(at=1000.001, version="2")
    for order in ([old, new], [new, old]):
        await locator.learn(order)
        assert await holding(locator, ALICE, BRUNO) == [{"bre"}, set()]
        assert await pointers(locator, ALICE) == [("bre", "cercle-1", "2", False)]
    for one in (new, old, new, old):
        await locator.learn([one])
        assert await holding(locator, ALICE, BRUNO) == [{"bre"}, set()]
        assert await of_circle(locator, OTHER) == set()


async def test_of_equal_dates_the_last_stays(locator: Locator) -> None:
    await locator.learn([seen(), seen(persons=[BRUNO])])
    assert await holding(locator, ALICE, BRUNO) == [set(), {"bre"}]
    await locator.learn([seen(persons=[ALICE])])
    assert await holding(locator, ALICE, BRUNO) == [{"bre"}, set()]


async def test_without_dates_the_last_stays(locator: Locator) -> None:
    for who in (ALICE, BRUNO, ALICE):
        await locator.learn([seen(at=None, persons=[who])])
    assert await holding(locator, ALICE, BRUNO) == [{"bre"}, set()]
    await locator.forget("bre", "cercle-1", at=None)
    assert await holding(locator, ALICE) == [set()]
    await locator.learn([seen(at=None)])
    assert await holding(locator, ALICE) == [{"bre"}]


async def test_dated_and_undated_are_both_believed(locator: Locator) -> None:
    await locator.learn([seen(at=1000.0)])
    await locator.learn([seen(at=None, persons=[BRUNO])])
    assert await holding(locator, ALICE, BRUNO) == [{"bre"}, {"bre"}]
    await locator.learn([seen(at=1001.0, persons=[BRUNO])])
    assert await holding(locator, ALICE, BRUNO) == [set(), {"bre"}]


async def test_a_deleted_circle_is_gone_and_does_not_come_back_by_old_news(locator: Locator) -> None:
    await locator.learn([seen(at=1000.0), seen(circle_id="cercle-2", persons=[BRUNO], identifiers=[OTHER])])
    await locator.forget("bre", "cercle-1", at=1001.0)
    assert await holding(locator, ALICE, BRUNO) == [set(), {"bre"}]
    assert await of_circle(locator, FIRST) == set()
    await locator.learn([seen(at=1000.0), seen(at=1001.0)])
    assert await holding(locator, ALICE) == [set()]
    await locator.learn([seen(at=1002.0, version="3")])
    assert await pointers(locator, ALICE) == [("bre", "cercle-1", "3", False)]


async def test_a_deletion_may_come_before_what_it_deletes(locator: Locator) -> None:
    await locator.forget("bre", "cercle-1", at=1001.0)
    await locator.learn([seen(at=1000.0)])
    assert await holding(locator, ALICE) == [set()]


async def test_a_deletion_from_before_the_last_creation_changes_nothing(locator: Locator) -> None:
    await locator.learn([seen(at=1002.0)])
    await locator.forget("bre", "cercle-1", at=1001.0)
    assert await holding(locator, ALICE) == [{"bre"}]


async def test_a_deletion_without_a_date_holds_against_what_was_seen(locator: Locator) -> None:
    await locator.learn([seen(at=1000.0)])
    await locator.forget("bre", "cercle-1", at=None)
    await locator.learn([seen(at=1000.0)])
    assert await holding(locator, ALICE) == [set()]
    await locator.learn([seen(at=1000.5)])
    assert await holding(locator, ALICE) == [{"bre"}]


async def test_circles_of_one_person_do_not_hide_one_another(locator: Locator) -> None:
    await locator.learn(
        [
            seen(),
            seen(circle_id="cercle-2", identifiers=[OTHER]),
            seen("pdl", "cercle-1", replica=True),
        ]
    )
    assert await holding(locator, ALICE) == [{"bre", "pdl"}]
    found = (await locator.pointers([ALICE], [])).persons[ALICE]
    by_place = {(one.manager, one.circle_id): one for one in found}
    assert by_place["pdl", "cercle-1"].replica
    assert by_place["pdl", "cercle-1"].circle == by_place["bre", "cercle-1"].circle
    assert by_place["bre", "cercle-2"].circle != by_place["bre", "cercle-1"].circle
    await locator.forget("bre", "cercle-1", at=2000.0)
    assert await holding(locator, ALICE) == [{"bre", "pdl"}]
    await locator.forget("bre", "cercle-2", at=2000.0)
    assert await holding(locator, ALICE) == [{"pdl"}]


async def test_many_at_once_and_each_several_times(locator: Locator) -> None:
    people = [(INS, f"{number:015}") for number in range(700)]
    batch = [
        seen(f"m{number % 13}", str(number // 13), persons=[who], identifiers=[("urn:c", str(number))])
        for number, who in enumerate(people)
    ]
    await locator.learn([*batch, *batch[::-1], *batch[:300]])
    await locator.learn(batch)
    assert await holding(locator, *people) == [{one.manager} for one in batch]
    located = await locator.pointers(people, [])
    assert [[one.circle_id for one in located.persons[who]] for who in people] == [
        [one.circle_id] for one in batch
    ]


async def test_concurrent_writers_leave_the_newest(locator: Locator) -> None:
    people = [(INS, f"{number:015}") for number in range(24)]
    await asyncio.gather(
        *(
            locator.learn([seen(at=1000.0 + number, persons=[who, ALICE], version=str(number))])
            for number, who in enumerate(people)
        )
    )
    assert await holding(locator, *people, ALICE) == [set()] * 23 + [{"bre"}, {"bre"}]
    assert await pointers(locator, ALICE) == [("bre", "cercle-1", "23", False)]


# --- coverage and leads


async def covered(locator: Locator, manager: str, **elements: object) -> bool:
    newest = (await locator.generations())[-1].number
    coverage = msgspec.convert({"generation": newest, **elements}, Coverage)
    return await locator.save_coverage(manager, coverage)


async def test_coverage_is_kept_and_comes_with_every_search(locator: Locator) -> None:
    assert await covered(locator, "bre", state="complete", as_of=12.5, since="2026-01-01T00:00:00Z", fence=3)
    assert await covered(locator, "pdl", state="crawling", circles=7, total=9)
    found = await locator.holders([ALICE], [])
    assert found.coverage == await locator.coverage()
    assert found.coverage == (await locator.pointers([], [FIRST])).coverage
    assert found.coverage["bre"].state is CoverageState.COMPLETE
    assert (found.coverage["bre"].as_of, found.coverage["bre"].since) == (12.5, "2026-01-01T00:00:00Z")
    assert found.coverage["pdl"].circles == 7


async def test_an_earlier_leader_writes_no_coverage(locator: Locator) -> None:
    assert await covered(locator, "bre", state="crawling", fence=5)
    assert await covered(locator, "bre", state="crawling", circles=1, fence=5)
    assert not await covered(locator, "bre", state="complete", as_of=1.0, fence=4)
    assert (await locator.coverage())["bre"].state is CoverageState.CRAWLING
    assert await covered(locator, "pdl", state="complete", as_of=1.0, fence=4)


async def test_coverage_of_an_unknown_generation_is_refused(locator: Locator) -> None:
    assert not await covered(locator, "bre", state="complete", as_of=1.0, generation=0)
    assert not await covered(locator, "bre", state="complete", as_of=1.0, generation=12345)
    assert await locator.coverage() == {}


async def test_no_coverage_is_lost_between_writers(locator: Locator) -> None:
    await asyncio.gather(*(covered(locator, f"m{number}", circles=number) for number in range(13)))
    found = await locator.coverage()
    assert {slug: one.circles for slug, one in found.items()} == {
        f"m{number}": number for number in range(13)
    }


async def test_one_leads_and_keeps_its_token(locator: Locator) -> None:
    mine = await locator.lead("bre", "node-1 a", seconds=30)
    assert mine is not None
    assert await locator.lead("bre", "node-2", seconds=30) is None
    assert await locator.lead("bre", "node-1 a", seconds=30) == mine
    other = await locator.lead("pdl", "node-2", seconds=30)
    assert other is not None
    assert other > mine


async def test_a_lead_that_ends_or_is_given_up_goes_to_another_with_a_greater_token(locator: Locator) -> None:
    mine = await locator.lead("bre", "one", seconds=0.05)
    assert mine is not None
    got: list[int] = []

    async def taken() -> bool:
        fence = await locator.lead("bre", "two", seconds=30)
        if fence is not None:
            got.append(fence)
        return fence is not None

    await until(taken)
    assert got[0] > mine
    assert await locator.lead("bre", "one", seconds=0) is None
    assert await locator.lead("bre", "two", seconds=0) == got[0]
    again = await locator.lead("bre", "one", seconds=30)
    assert again is not None
    assert again > got[0]


async def test_of_many_who_want_to_lead_one_does(locator: Locator) -> None:
    fences = await asyncio.gather(*(locator.lead("bre", f"n{number}", seconds=30) for number in range(8)))
    assert sum(fence is not None for fence in fences) == 1


# --- managers that leave


async def test_nothing_points_to_a_manager_that_left(locator: Locator) -> None:
    await locator.learn([seen(), seen("pdl", "7"), seen("pdl", "8", persons=[BRUNO], identifiers=[OTHER])])
    await covered(locator, "pdl", state="complete", as_of=1.0)
    done: list[tuple[int, int]] = []
    await locator.clear("pdl", progress=lambda *figures: done.append(figures))
    assert done[-1][0] == done[-1][1]
    assert await holding(locator, ALICE, BRUNO) == [{"bre"}, set()]
    assert await of_circle(locator, OTHER) == set()
    assert await pointers(locator, ALICE) == [("bre", "cercle-1", "1", False)]
    assert "pdl" not in await locator.coverage()
    await locator.learn([seen("pdl", "7", at=1.0, persons=[BRUNO])])
    assert await holding(locator, ALICE, BRUNO) == [{"bre"}, {"pdl"}]


async def test_an_earlier_leader_covers_a_cleared_manager_no_more(locator: Locator) -> None:
    before = await locator.lead("pdl", "one", seconds=30)
    assert await covered(locator, "pdl", state="crawling", fence=before)
    await locator.lead("pdl", "one", seconds=0)
    await locator.clear("pdl")
    assert not await covered(locator, "pdl", state="complete", as_of=1.0, fence=before)
    await locator.start_generation()
    assert not await covered(locator, "pdl", state="complete", as_of=1.0, fence=before)
    after = await locator.lead("pdl", "two", seconds=30)
    await locator.clear("pdl")
    assert await covered(locator, "pdl", state="complete", as_of=1.0, fence=after)


# --- conflicts


async def conflicts(locator: Locator) -> list[set[tuple[str, str]]]:
    return [{(one.manager, one.circle_id) for one in homes} for homes in await locator.conflicts()]


async def test_two_homes_are_a_conflict_until_one_goes(locator: Locator) -> None:
    two = seen("pdl", "7", persons=[ALICE, ALICE_BEFORE], identifiers=[OTHER])
    await locator.learn([seen(persons=[ALICE_BEFORE, ALICE])])
    assert await conflicts(locator) == []
    await locator.learn([two])
    assert await conflicts(locator) == [{("bre", "cercle-1"), ("pdl", "7")}]
    assert all(isinstance(one, Pointer) for homes in await locator.conflicts() for one in homes)
    await locator.forget("pdl", "7", at=1001.0)
    assert await conflicts(locator) == []


async def test_two_homes_at_one_manager_are_a_conflict(locator: Locator) -> None:
    await locator.learn([seen(), seen(circle_id="cercle-2", identifiers=[OTHER])])
    assert await conflicts(locator) == [{("bre", "cercle-1"), ("bre", "cercle-2")}]


async def test_copies_are_no_conflict(locator: Locator) -> None:
    await locator.learn([seen(), seen("pdl", "7", replica=True, identifiers=[OTHER]), seen("idf", "8")])
    assert await conflicts(locator) == []


async def test_a_copy_that_becomes_a_home_is_a_conflict_and_the_other_way_round(locator: Locator) -> None:
    copy = seen("pdl", "7", replica=True, identifiers=[OTHER])
    await locator.learn([seen(), copy])
    await locator.learn([with_change(copy, replica=False, last_updated=1001.0)])
    assert await conflicts(locator) == [{("bre", "cercle-1"), ("pdl", "7")}]
    await locator.learn([with_change(copy, replica=True, last_updated=1002.0)])
    assert await conflicts(locator) == []


async def test_homes_that_come_at_the_same_moment_are_seen(locator: Locator) -> None:
    for number in range(5):
        who = (INS, f"{number:015}")
        await asyncio.gather(
            *(
                locator.learn(
                    [seen(slug, f"c{number}", persons=[who], identifiers=[("urn:c", f"{slug}{number}")])]
                )
                for slug in ("bre", "pdl", "idf")
            )
        )
    assert await conflicts(locator) == [
        {("bre", f"c{number}"), ("pdl", f"c{number}"), ("idf", f"c{number}")} for number in range(5)
    ]


async def test_a_manager_that_left_is_in_no_conflict(locator: Locator) -> None:
    await locator.learn([seen(), seen("pdl", "7", identifiers=[OTHER])])
    await locator.clear("pdl")
    assert await conflicts(locator) == []


# --- generations


async def test_a_new_generation_is_filled_while_the_old_one_answers(locator: Locator) -> None:
    await locator.learn([seen()])
    old = (await locator.generations())[-1].number
    await covered(locator, "bre", state="complete", as_of=5.0)
    new = await locator.start_generation()
    assert [one.number for one in await locator.generations()] == [old, new]
    assert await holding(locator, ALICE) == [{"bre"}]
    assert (await locator.coverage())["bre"].as_of == 5.0
    assert await locator.coverage(new) == {}
    assert await covered(locator, "bre", state="crawling", circles=1)
    assert (await locator.coverage())["bre"].state is CoverageState.COMPLETE
    assert (await locator.coverage(new))["bre"].circles == 1
    assert await locator.superseded(["bre"]) == []
    await locator.learn([seen("bre", "2", persons=[BRUNO], identifiers=[OTHER]), seen(version="2")])
    assert await pointers(locator, ALICE) == [("bre", "cercle-1", "2", False)]
    assert await covered(locator, "bre", state="complete", as_of=6.0)
    assert (await locator.coverage())["bre"].as_of == 6.0
    assert await locator.superseded(["bre", "pdl"]) == []
    assert await locator.superseded([]) == []
    assert await locator.superseded(["bre"]) == [old]
    done: list[tuple[int, int]] = []
    await locator.drop_generation(old, progress=lambda *figures: done.append(figures), grace=0)
    assert done[-1][0] == done[-1][1]
    assert [one.number for one in await locator.generations()] == [new]
    assert await holding(locator, ALICE, BRUNO) == [{"bre"}, {"bre"}]
    assert await locator.superseded(["bre"]) == []
    await locator.drop_generation(old, grace=0)


async def test_a_dropped_generation_takes_what_it_held_along(locator: Locator) -> None:
    await locator.learn([seen()])
    await covered(locator, "bre", state="complete", as_of=5.0)
    first = (await locator.generations())[-1].number
    await locator.drop_generation(first, grace=0)
    assert await holding(locator, ALICE) == [set()]
    assert await locator.coverage() == {}
    assert (await locator.generations())[-1].number != first
    await locator.learn([seen()])
    assert await holding(locator, ALICE) == [{"bre"}]


def with_change(one: Sighting, *, replica: bool, last_updated: float) -> Sighting:
    return Sighting(
        one.manager, one.circle_id, one.version, last_updated, one.identifiers, one.persons, replica
    )
