"""A broker is itself a manager: a regional one registered in a national one; and a loop between them is not followed."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from adapters.sandbox.app import RunningSandbox, running_sandbox
from adapters.sandbox.options import SandboxOptions
from broker.errors import FailureKind, ManagerError
from broker.ports import ManagerAnswer, ManagerClient, ManagerRequest
from registry.model import TRE_R30, Gestionnaire
from registry.redis_keys import RedisKeys
from tests.support.bridging import HELD, Search, pages_of, region
from tests.support.federation import Broker, federation, ids, outcome_codes
from tests.support.fhir_builders import INS, INS_TEST, care_team
from tests.support.valkey import Valkey, ValkeyServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]


class Counting:
    """The way of one broker to its managers, with every request on it."""

    def __init__(self, client: ManagerClient) -> None:
        self._client = client
        self.sent: list[tuple[str, str]] = []

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109 - the port's
        self.sent.append((manager.id, request.target))
        return await self._client.send(manager, request, timeout=timeout)


def counted(broker: Broker) -> Counting:
    counting = Counting(broker.running.guard._client)
    broker.running.guard._client = counting
    return counting


class Brokers:
    """Brokers with stores and secrets of their own, on one server."""

    def __init__(self, valkey: ValkeyServer, stack: AsyncExitStack) -> None:
        self._valkey = valkey
        self._stack = stack

    async def start(
        self, name: str, *managers: Gestionnaire, checked: bool = True, **settings: Any
    ) -> Broker:
        keys = Valkey(self._valkey.url, RedisKeys(f"t{uuid.uuid4().hex[:12]}"))
        secret = f"the secret of {name}, long enough".encode()
        return await self._stack.enter_async_context(
            federation(keys, *managers, checked=checked, secret=secret, **settings)
        )

    async def sandbox(self, held: list[Json], **options: Any) -> RunningSandbox:
        return await self._stack.enter_async_context(running_sandbox(held, options=SandboxOptions(**options)))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def brokers(valkey_server: ValkeyServer) -> AsyncIterator[Brokers]:
    async with AsyncExitStack() as stack:
        yield Brokers(valkey_server, stack)


@dataclass(frozen=True, slots=True)
class World:
    """`outer` over `idf` and over `nat`, the `inner` broker over `bre` and `occ`; `flat` over the three themselves."""

    bre: RunningSandbox
    inner: Broker
    outer: Broker
    flat: Broker


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(brokers: Brokers) -> World:
    bre = await brokers.sandbox(HELD["bre"], max_page=3)
    occ = await brokers.sandbox(HELD["occ"], ignores_include=True, chains_match_nothing=True)
    idf = await brokers.sandbox(region("i", (1, 2, 3)))
    west = (
        Gestionnaire("bre", "Bretagne", "53", bre.base_url),
        Gestionnaire("occ", "Occitanie", "76", occ.base_url),
    )
    own = Gestionnaire("idf", "Île-de-France", "11", idf.base_url)
    inner = await brokers.start("inner", *west)
    outer = await brokers.start("outer", Gestionnaire("nat", "Ouest", "52", inner.base_url), own)
    return World(bre, inner, outer, await brokers.start("flat", *west, own))


def nested(public_id: str) -> str:
    return public_id if public_id.startswith("idf.") else f"nat.{public_id}"


async def test_a_broker_is_recognised_and_lacks_nothing(world: World) -> None:
    known = world.outer.running.managers.get("nat")
    assert known is not None
    assert known.skills is not None
    assert known.skills.broker is True
    assert len(known.skills.federations) == 1
    assert known.skills.lacks == ()


SEARCHES = (
    "_count=4",
    "_count=3&_sort=start",
    "_count=2&_include=CareTeam:subject&_include=CareTeam:participant&_include:iterate=PractitionerRole:practitioner",
    "_count=5&patient.gender=female",
    f"patient.identifier={INS_TEST}|{INS[1]}",
    "participant:RelatedPerson.name:exact=Ducros",
    "status:not=active&_count=2",
    "_summary=count",
    "_total=accurate&_count=1",
    f"_tag={TRE_R30}|53",
    f"_tag={TRE_R30}|11",
    "_elements=name&_count=4",
)


@pytest.mark.parametrize("query", SEARCHES)
async def test_what_the_outer_broker_answers_is_what_one_over_all_answers(world: World, query: str) -> None:
    search = Search(f"CareTeam?{query}", whole=True)
    nested_pages, flat_pages = await pages_of(world.outer, search), await pages_of(world.flat, search)
    assert sorted(one for page in nested_pages for one in ids(page)) == sorted(
        nested(one) for page in flat_pages for one in ids(page)
    )
    assert [len(ids(page)) for page in nested_pages] == [len(ids(page)) for page in flat_pages]
    assert {one for page in nested_pages for one in ids(page, "include")} == {
        nested(one) for page in flat_pages for one in ids(page, "include")
    }
    assert nested_pages[0].get("total") in (None, flat_pages[0].get("total"))
    if "count" in query.split("=", maxsplit=1)[0] or "_total" in query:
        assert nested_pages[0].get("total") == flat_pages[0].get("total")
    assert [code for page in nested_pages for code in outcome_codes(page)] == []


async def test_the_order_is_that_of_one_broker_over_all(world: World) -> None:
    """No two circles of one instant between `idf` and the others would be ordered by other ids: none is compared."""
    given = ids(await world.outer.bundle("CareTeam?_sort=-identifier&_count=100"))
    assert given == [
        nested(one) for one in ids(await world.flat.bundle("CareTeam?_sort=-identifier&_count=100"))
    ]


async def test_ids_and_references_are_rewritten_at_both_levels(world: World) -> None:
    bundle = await world.outer.bundle("CareTeam?_id=nat.bre.c5&_include=*")
    circle = bundle["entry"][0]
    assert circle["fullUrl"] == f"{world.outer.base_url}/CareTeam/nat.bre.c5"
    assert circle["resource"]["subject"]["reference"] == "Patient/nat.bre.p5"
    members = {one["member"]["reference"] for one in circle["resource"]["participant"]}
    assert members == {
        "RelatedPerson/nat.bre.k5",
        "PractitionerRole/nat.bre.role1",
        "Organization/nat.bre.centre",
    }
    assert {"nat.bre.p5", "nat.bre.k5", "nat.bre.role1", "nat.bre.centre"} <= set(ids(bundle, "include"))
    regions = [tag["code"] for tag in circle["resource"]["meta"]["tag"] if tag["system"] == TRE_R30]
    assert regions == ["53"], "the innermost manager's region, not that of the broker between"
    assert circle["resource"]["meta"]["source"].startswith((world.bre.base_url, world.inner.base_url))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_id=nat.bre.c5,idf.c1", ["nat.bre.c5", "idf.c1"]),
        ("patient=Patient/nat.occ.p3", ["nat.occ.c3"]),
        ("patient=nat.bre.p4,nat.occ.p3", ["nat.bre.c4", "nat.occ.c3"]),
        ("participant:RelatedPerson._id=nat.occ.k2", ["nat.occ.c2"]),
        ("_id=nat.c5", []),
        ("_id=bre.c5", []),
        ("_id=nat.nowhere.c5", []),
    ],
)
async def test_nested_ids_find_their_manager(world: World, query: str, expected: list[str]) -> None:
    bundle = await world.outer.bundle(f"CareTeam?{query}")
    assert sorted(ids(bundle)) == sorted(expected)
    assert outcome_codes(bundle) == []


async def test_reading_and_histories_by_nested_id(world: World) -> None:
    read = await world.outer.get("CareTeam/nat.bre.c4")
    assert (read.status, read.headers["ETag"], read.json["id"]) == (200, 'W/"1"', "nat.bre.c4")
    assert (await world.outer.get("CareTeam/nat.bre.c4", If_None_Match='W/"1"')).status == 304
    assert (await world.outer.get("Patient/nat.bre.p4")).json["id"] == "nat.bre.p4"
    changed = dict(next(one for one in HELD["bre"] if one["id"] == "c4"), name="Cercle changé")
    async with world.outer.http.put(f"{world.bre.base_url}/CareTeam/c4", json=changed) as response:
        assert response.status == 200
    own = await world.outer.bundle("CareTeam/nat.bre.c4/_history")
    assert [one["resource"]["meta"]["versionId"] for one in own["entry"]] == ["2", "1"]
    assert own["entry"][0]["fullUrl"] == f"{world.outer.base_url}/CareTeam/nat.bre.c4"
    assert (await world.outer.get("CareTeam/nat.bre.c4/_history/1")).json["name"] == "Cercle b4"
    pages = await world.outer.pages("CareTeam/_history?_count=4")
    given = [one["resource"]["id"] for page in pages for one in page["entry"] if "resource" in one]
    assert given[0] == "nat.bre.c4"
    assert len(given) == 7 + 5 + 3 + 1
    assert sorted(set(given)) == sorted(ids(await world.outer.bundle("CareTeam?_count=100")))
    for missing in ("nat.bre.nobody", "nat.nowhere.c4", "nat.c4"):
        assert (await world.outer.get(f"CareTeam/{missing}")).status == 404


async def test_an_id_too_long_at_the_second_level_gets_an_alias_that_leads_back(brokers: Brokers) -> None:
    long_id = "c" * 58  # with `occ.` 62 characters, with `nat.` before it 66
    held = [care_team(long_id)]
    box = await brokers.sandbox(held)
    inner = await brokers.start("inner", Gestionnaire("occ", "Occitanie", "76", box.base_url))
    outer = await brokers.start("outer", Gestionnaire("nat", "Ouest", "52", inner.base_url))
    (alias,) = ids(await outer.bundle("CareTeam"))
    assert len(alias) <= 64
    assert (await outer.get(f"CareTeam/{alias}")).json["name"] == f"Cercle {long_id}"
    assert ids(await outer.bundle(f"CareTeam?_id={alias}")) == [alias]


# --- what goes wrong inside


async def test_a_partial_failure_inside_is_told_outside(brokers: Brokers) -> None:
    bre, idf = await brokers.sandbox(HELD["bre"]), await brokers.sandbox(region("i", (1, 2, 3)))
    async with running_sandbox(HELD["occ"]) as occ:
        inner = await brokers.start(
            "inner",
            Gestionnaire("bre", "Bretagne", "53", bre.base_url),
            Gestionnaire("occ", "Occitanie", "76", occ.base_url),
        )
        outer = await brokers.start(
            "outer",
            Gestionnaire("nat", "Ouest", "52", inner.base_url),
            Gestionnaire("idf", "Île-de-France", "11", idf.base_url),
        )
        assert (await outer.bundle("CareTeam"))["total"] == 7 + 5 + 3
    for target in (
        "CareTeam?_count=50",
        "CareTeam?_count=50&_total=accurate",
        "CareTeam?_summary=count",
        "CareTeam?_count=4",
    ):
        bundle = await outer.bundle(target)
        assert ("manager.reported", "nat") in outcome_codes(bundle), target
        issue = bundle["entry"][-1]["resource"]["issue"][0]
        assert issue["severity"] == "warning"
        assert "Occitanie" in issue["diagnostics"]
        assert "total" not in bundle, target
        if "_count=50" in target:
            assert len(ids(bundle)) == 7 + 3
        denied = await outer.get(target, Prefer="partial=deny")
        assert denied.status == 503, target
        assert ("manager.reported", "nat") in outcome_codes(denied.json)
    history = await outer.bundle("CareTeam/_history?_count=50")
    assert ("manager.reported", "nat") in outcome_codes(history)
    for _ in range(5):  # the region that is away closes the way to no other
        assert (await outer.get("CareTeam/nat.occ.c3")).status in (502, 503)
    assert (await outer.get("CareTeam/nat.bre.c4")).status == 200
    assert outer.running.guard.states()["nat"].failures == 0


# --- loops


@pytest.mark.parametrize("checked", [False, True], ids=["unknown", "checked"])
async def test_a_loop_is_refused_and_not_followed(brokers: Brokers, *, checked: bool) -> None:
    box = await brokers.sandbox(HELD["bre"])
    own = Gestionnaire("bre", "Bretagne", "53", box.base_url)
    inner = await brokers.start("inner", own, checked=False)
    outer = await brokers.start("outer", Gestionnaire("nat", "Ouest", "52", inner.base_url), checked=False)
    if checked:
        await inner.check()
        await outer.check()
    await inner.running.store.put(Gestionnaire("out", "National", "11", outer.base_url))
    await inner.running.managers.refresh()
    ways = [counted(inner), counted(outer)]
    for target in ("CareTeam", "CareTeam?_count=2", f"CareTeam?patient.identifier={INS_TEST}|{INS[1]}"):
        for way in ways:
            way.sent.clear()
        started = time.monotonic()
        bundle = await outer.bundle(target)
        assert time.monotonic() - started < 5
        given = ids(bundle)
        assert given
        assert len(given) == len(set(given))
        assert all(one.startswith("nat.bre.") for one in given)
        assert ("manager.reported", "nat") in outcome_codes(bundle)
        assert "renvoie à cette fédération même" in str(bundle["entry"][-1]["resource"]["issue"])
        assert "total" not in bundle
        to_outer = [target for slug, target in ways[0].sent if slug == "out"]
        assert len(to_outer) <= 4, to_outer
        assert len(ways[0].sent) + len(ways[1].sent) <= 16, [way.sent for way in ways]
    history = await outer.bundle("CareTeam/_history")
    assert ("manager.reported", "nat") in outcome_codes(history)
    assert (await outer.get("CareTeam/nat.out.nat.bre.c4")).status in (404, 502, 508)


async def test_a_check_finds_a_loop(brokers: Brokers) -> None:
    box = await brokers.sandbox(HELD["bre"])
    outer = await brokers.start("outer", Gestionnaire("bre", "Bretagne", "53", box.base_url))
    inner = await brokers.start("inner", Gestionnaire("out", "National", "11", outer.base_url))
    await outer.running.store.put(Gestionnaire("nat", "Ouest", "52", inner.base_url))
    await outer.running.managers.refresh()
    way = counted(outer)
    with pytest.raises(ManagerError) as raised:
        await outer.running.registry.check("nat")
    assert raised.value.kind is FailureKind.LOOP
    assert len(way.sent) == 1


async def test_a_broker_that_is_its_own_manager_answers_at_once(brokers: Brokers) -> None:
    box = await brokers.sandbox(HELD["bre"])
    broker = await brokers.start("self", Gestionnaire("bre", "Bretagne", "53", box.base_url))
    await broker.running.store.put(Gestionnaire("self", "Moi-même", "11", broker.base_url))
    await broker.running.managers.refresh()
    way = counted(broker)
    bundle = await broker.bundle("CareTeam")
    assert len(ids(bundle)) == 7
    assert ("manager.loop", "self") in outcome_codes(bundle)
    assert len(way.sent) <= 3
