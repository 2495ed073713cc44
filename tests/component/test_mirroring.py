"""References to other managers' actors, over real HTTP: what the home holds afterwards, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.sandbox.app import RunningSandbox, running_sandbox
from broker.core.identity import public_id
from broker.core.outcome import render_error, status_of
from broker.core.replica_marks import AS_OF_SYSTEM
from broker.errors import RefusedError, StoreError
from broker.federation.mirror_survey import MAX_ACTORS
from registry.model import Status
from tests.support.fhir_builders import INS, INS_TEST, care_team, operation_outcome, patient
from tests.support.mirror_world import PUBLIC, MirrorWorld, mirror_world, told
from tests.support.scripted_manager import Received, Reply, ScriptedManager, reply, scripted_manager

Json = dict[str, Any]
RPPS = "https://rpps.esante.gouv.fr"
FINESS = "https://finess.esante.gouv.fr"
MARK = {"system": "urn:cds-broker:copy", "code": "replica"}


def resource(kind: str, id_: str, system: str | None = None, value: str = "", **elements: Any) -> Json:
    made: Json = {
        "resourceType": kind,
        "id": id_,
        "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z"},
    }
    if system is not None:
        made["identifier"] = [{"system": system, "value": value}]
    return made | elements


def reference(text: str) -> Json:
    return {"reference": text}


def practitioner(id_: str = "d1", rpps: str = "10000000001", **more: Any) -> Json:
    return resource("Practitioner", id_, RPPS, rpps, name=[{"family": "SOIGNANT"}], **more)


def organization(id_: str, finess: str | None = None, **more: Any) -> Json:
    return resource(
        "Organization", id_, FINESS if finess else None, finess or "", name=f"Structure {id_}", **more
    )


def role(id_: str = "r1", who: str = "Practitioner/d1", where: str = "Organization/o1", **more: Any) -> Json:
    return resource(
        "PractitionerRole",
        id_,
        "urn:roles",
        id_,
        practitioner=reference(who),
        organization=reference(where),
        **more,
    )


OCC = [
    role(location=[reference("Location/l1")]),
    practitioner(),
    organization("o1", "310000001", partOf=reference("Organization/o2")),
    organization("o2", "310000002", partOf=reference("Organization/o3")),
    organization("o3"),  # nobody could know it elsewhere
    patient(
        "p1",
        identifier=[{"system": INS_TEST, "value": INS[0]}, {"system": "urn:ipp:occ", "value": "77"}],
        generalPractitioner=[reference("Practitioner/d1")],
    ),
    practitioner("nobody", "") | {"identifier": []},
    role("r2", who="Practitioner/nobody"),
]


@dataclass(frozen=True)
class Two:
    """A home, `bre`, and `occ`, whose actors are referred to."""

    world: MirrorWorld
    bre: RunningSandbox
    occ: RunningSandbox

    def held(self, kind: str) -> list[Json]:
        """What the home holds."""
        return [json.loads(one.raw) for one in self.bre.store.live(kind).values()]


@asynccontextmanager
async def two(home: list[Json] | None = None, away: list[Json] | None = None) -> AsyncIterator[Two]:
    async with (
        running_sandbox(home or []) as bre,
        running_sandbox(OCC if away is None else away) as occ,
        mirror_world(bre=bre.base_url, occ=occ.base_url) as world,
    ):
        yield Two(world, bre, occ)


async def refused(prepared: Any) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        await prepared
    for issue in json.loads(render_error(raised.value))["issue"]:
        said = (
            issue["details"]["text"]
            + issue["details"]["_text"]["extension"][0]["extension"][1]["valueString"]
        )
        assert "?" not in said
        assert "{" not in said
    return raised.value


# --- what the home holds afterwards


async def test_a_carer_from_elsewhere_with_all_that_makes_one() -> None:
    async with two([patient("p9")]) as both:
        circle = care_team("x", subject="Patient/bre.p9", participants=["PractitionerRole/occ.r1"])
        done = await both.world.prepare(circle, "bre")
        sent = json.loads(done.body)
        (copied_role,) = both.held("PractitionerRole")
        (doctor,) = both.held("Practitioner")
        structures = {one["identifier"][0]["value"]: one for one in both.held("Organization")}

    assert sent["subject"] == reference("Patient/p9")
    assert sent["participant"][0]["member"] == reference(f"PractitionerRole/{copied_role['id']}")
    assert copied_role["practitioner"] == reference(f"Practitioner/{doctor['id']}")
    assert copied_role["organization"] == reference(f"Organization/{structures['310000001']['id']}")
    assert structures["310000001"]["partOf"] == reference(f"Organization/{structures['310000002']['id']}")
    # What cannot be known elsewhere, and what is no actor, stay behind.
    assert structures["310000002"]["partOf"]["identifier"]["value"] == f"{PUBLIC}/Organization/occ.o3"
    assert copied_role["location"][0]["identifier"]["value"] == f"{PUBLIC}/Location/occ.l1"
    for one in (copied_role, doctor, *structures.values()):
        assert MARK in one["meta"]["tag"]
        assert one["meta"]["source"].startswith(f"{PUBLIC}/{one['resourceType']}/occ.")
    assert [(one.original, one.created) for one in done.created] == [
        ("Practitioner/occ.d1", True),
        ("Organization/occ.o2", True),
        ("Organization/occ.o1", True),
        ("PractitionerRole/occ.r1", True),
    ]


async def test_a_person_keeps_every_identifier_and_brings_nobody_along() -> None:
    async with two() as both:
        done = await both.world.prepare(care_team("x", subject=f"{PUBLIC}/Patient/occ.p1/_history/1"), "bre")
        (person,) = both.held("Patient")
        assert both.held("Practitioner") == []
    assert json.loads(done.body)["subject"] == reference(f"Patient/{person['id']}")
    assert person["identifier"] == OCC[5]["identifier"]
    assert person["meta"]["source"] == f"{PUBLIC}/Patient/occ.p1"


async def test_nothing_is_copied_twice() -> None:
    circle = care_team(
        "x", subject="Patient/occ.p1", participants=["PractitionerRole/occ.r1", "Organization/occ.o1"]
    )
    async with two() as both:
        first = await both.world.prepare(circle, "bre")
        again = await both.world.prepare(circle, "bre")
        assert again.created == ()
        assert again.body == first.body
        assert [len(both.held(kind)) for kind in ("Patient", "PractitionerRole", "Organization")] == [1, 1, 2]


async def test_many_at_once_make_one_copy() -> None:
    circle = care_team("x", subject="Patient/occ.p1", participants=["PractitionerRole/occ.r1"])
    async with two() as both:
        done = await asyncio.gather(*(both.world.prepare(circle, "bre") for _ in range(15)))
        assert len({one.body for one in done}) == 1
        assert len(both.held("Patient")) == len(both.held("PractitionerRole")) == 1


async def test_what_the_home_knows_already_is_used_and_leads_no_further() -> None:
    here = role("mine", who="Practitioner/own", where="Organization/own") | {
        "identifier": [{"system": "urn:roles", "value": "r1"}]
    }
    async with two([here]) as both:
        circle = care_team("x", subject="Patient/occ.p1", participants=["PractitionerRole/occ.r1"])
        done = await both.world.prepare(circle, "bre")
        assert both.held("Practitioner") == both.held("Organization") == []
    assert json.loads(done.body)["participant"][0]["member"] == reference("PractitionerRole/mine")


async def test_what_the_home_knows_needs_nothing_that_could_not_be_copied() -> None:
    here = role("mine") | {"identifier": [{"system": "urn:roles", "value": "r2"}]}
    async with two([here]) as both:
        circle = care_team("x", subject="Patient/bre.1", participants=["PractitionerRole/occ.r2"])
        done = await both.world.prepare(circle, "bre")
    assert json.loads(done.body)["participant"][0]["member"] == reference("PractitionerRole/mine")


async def test_a_body_without_foreign_references_costs_nothing() -> None:
    async with scripted_manager() as home, mirror_world(bre=home.base_url) as world:
        body = care_team(
            "x", subject="Patient/bre.p1", participants=["#p", "https://elsewhere.example/Organization/1"]
        )
        done = await world.prepare(body, "bre")
        assert home.requests == []
    assert done.body == json.dumps(body | {"subject": reference("Patient/p1")}, ensure_ascii=False).encode()


async def test_a_copy_says_of_which_state_it_is() -> None:
    circle = care_team("x", subject="Patient/occ.p1")
    async with two() as both:
        plan = await both.world.plan([("CareTeam.subject", circle["subject"]["reference"])], "bre")
        await both.world.prepare(circle, "bre")
        (person,) = both.held("Patient")
    state = {"system": AS_OF_SYSTEM, "code": "2026-01-01T00:00:00.000Z/1"}
    assert person["meta"]["tag"].count(state) == 1
    assert plan.copies[0].resource["meta"]["tag"].count(state) == 1, "in a transaction too"


async def test_a_copy_referred_to_gives_the_name_of_its_original() -> None:
    state = {"system": AS_OF_SYSTEM, "code": "2025-01-01T00:00:00Z/8"}
    copy = practitioner(
        "d7", meta={"source": "https://naq.example/fhir/Practitioner/d1", "tag": [MARK, state]}
    )
    async with two(away=[copy]) as both:
        both.world.register("naq", "https://naq.example/fhir")
        role_here = role("x", who="Practitioner/occ.d7", where="Organization/bre.1")
        await both.world.prepare(role_here, "bre")
        (doctor,) = both.held("Practitioner")
    assert doctor["meta"]["source"] == f"{PUBLIC}/Practitioner/naq.d1"
    assert doctor["meta"]["tag"].count(MARK) == doctor["meta"]["tag"].count(state) == 1
    assert len([tag for tag in doctor["meta"]["tag"] if tag["system"] == AS_OF_SYSTEM]) == 1


async def test_an_actor_that_refers_back_to_the_home() -> None:
    back = organization("o9", "310000009", partOf=reference(f"{PUBLIC}/Organization/bre.mine"))
    async with two(away=[back]) as both:
        await both.world.prepare(
            care_team("x", subject="Patient/bre.1", participants=["Organization/occ.o9"]), "bre"
        )
        (copied,) = both.held("Organization")
    assert copied["partOf"] == reference("Organization/mine")


async def test_structures_that_go_round_in_a_circle() -> None:
    away = [
        organization("a", "1", partOf=reference("Organization/b")),
        organization("b", "2", partOf=reference("Organization/a")),
    ]
    async with two(away=away) as both:
        await both.world.prepare(
            care_team("x", subject="Patient/bre.1", participants=["Organization/occ.a"]), "bre"
        )
        assert len(both.held("Organization")) == 2


async def test_four_levels_and_no_more() -> None:
    away = [organization(f"o{n}", str(n), partOf=reference(f"Organization/o{n + 1}")) for n in range(7)]
    async with two(away=away) as both:
        done = await both.world.prepare(
            care_team("x", subject="Patient/bre.1", participants=["Organization/occ.o0"]), "bre"
        )
    assert [one.original for one in done.created] == [f"Organization/occ.o{n}" for n in (3, 2, 1, 0)]


async def test_a_long_id_is_found_by_its_alias() -> None:
    made: dict[str, str] = {}
    alias = public_id("occ", "a" * 62, made)
    async with two(away=[practitioner("a" * 62)]) as both:
        await both.world.aliases.remember(made)
        mine = role("x", who=f"Practitioner/{alias}", where="Organization/bre.1")
        done = await both.world.prepare(mine, "bre")
        (doctor,) = both.held("Practitioner")
    assert json.loads(done.body)["practitioner"] == reference(f"Practitioner/{doctor['id']}")
    assert doctor["meta"]["source"] == f"{PUBLIC}/Practitioner/{alias}"


# --- what is refused


async def test_every_problem_at_once_with_its_place() -> None:
    async with two() as both, AsyncExitStack() as stack:
        down = await stack.enter_async_context(scripted_manager([practitioner("d1")]))
        both.world.register("naq", down.base_url)
        both.world.register("idf", down.base_url, status=Status.SUSPENDED)
        await down.refuse()
        circle = care_team(
            "x",
            subject="Patient/occ.404",
            participants=[
                "PractitionerRole/xyz.1",  # no such manager
                "Organization/12",  # no public id
                "Organization/occ.o3",
                "PractitionerRole/occ.r2",  # whose practitioner has none
                "Location/occ.l1",
                "Practitioner/naq.d1",
                "Practitioner/idf.d1",
                "Patient/occ.404",
            ],
        )
        error = await refused(both.world.prepare(circle, "bre"))
        assert both.held("Organization") == []  # nothing was made while something is in the way
    member = "CareTeam.participant[{}].member".format
    assert (
        told(error)
        == {
            ("write.reference-unknown", (member(0), member(1), member(7), "CareTeam.subject")),
            ("write.reference-no-identifier", (member(2), member(3) + ".resolve().practitioner")),
            ("write.reference-type", (member(4),)),
            ("write.reference-unavailable", (member(5),)),
            ("write.reference-unavailable", (member(6),)),
            ("manager.unreachable", ()),
            ("manager.suspended", ()),
        }
        or sorted(told(error)) == []
    )
    assert status_of(error) == 422


async def test_a_manager_away_is_no_fault_of_the_client() -> None:
    async with scripted_manager() as away, two() as both:
        both.world.register("naq", away.base_url)
        away.faults.status = 500
        error = await refused(both.world.prepare(care_team("x", subject="Patient/naq.1"), "bre"))
    assert status_of(error) == 503
    assert told(error) == {("write.reference-unavailable", ("CareTeam.subject",)), ("manager.error", ())}
    assert error.issues[0].params["slug"] == "naq"


async def test_the_home_away() -> None:
    async with scripted_manager() as home, two() as both:
        both.world.register("naq", home.base_url)
        home.faults.reset = True
        error = await refused(both.world.prepare(care_team("x", subject="Patient/occ.p1"), "naq"))
    assert (status_of(error), error.issues[0].params["slug"]) == (503, "naq")


async def test_a_manager_that_answers_what_no_resource_is() -> None:
    nested = b'{"resourceType":"Patient","id":"1","x":' + b"[" * 400 + b"]" * 400 + b"}"
    async with scripted_manager() as away, two() as both:
        both.world.register("naq", away.base_url)
        away.replies["Patient/1"] = Reply(200, nested)
        error = await refused(both.world.prepare(care_team("x", subject="Patient/naq.1"), "bre"))
    assert ("manager.invalid", ()) in told(error)


async def test_a_home_with_two_of_them() -> None:
    async with two([practitioner("a"), practitioner("b")]) as both:
        mine = role("x", who="Practitioner/occ.d1", where="Organization/bre.1")
        error = await refused(both.world.prepare(mine, "bre"))
        assert len(both.held("Practitioner")) == 2
    assert told(error) == {("write.reference-ambiguous", ("PractitionerRole.practitioner",))}
    assert status_of(error) == 422


async def test_too_many() -> None:
    async with scripted_manager() as home, mirror_world(bre=home.base_url, occ=home.base_url) as world:
        members = [f"Organization/occ.{n}" for n in range(MAX_ACTORS + 1)]
        error = await refused(
            world.prepare(care_team("x", subject="Patient/bre.1", participants=members), "bre")
        )
        assert error.key == "write.reference-many"
        assert home.requests == []


async def test_a_lost_memory_of_long_ids() -> None:
    async with two() as both:
        both.world.aliases.down = True
        alias = "occ.alias--" + "0" * 40
        with pytest.raises(StoreError):
            await both.world.prepare(care_team("x", subject=f"Patient/{alias}"), "bre")


# --- homes of every kind


@asynccontextmanager
async def at_scripted(
    answer: Callable[[Received], Reply] | Reply | None,
) -> AsyncIterator[tuple[MirrorWorld, ScriptedManager]]:
    """A home that answers creations of a Practitioner so; `occ` holds the one that is referred to."""
    async with (
        scripted_manager() as bre,
        scripted_manager([practitioner()]) as occ,
        mirror_world(bre=bre.base_url, occ=occ.base_url) as world,
    ):
        if answer is not None:
            bre.replies["Practitioner"] = answer
        yield world, bre


MINE = role("x", who="Practitioner/occ.d1", where="Organization/bre.1")


def created_and_silent(bre: ScriptedManager, status: int = 201) -> Callable[[Received], Reply]:
    """It does as it is told, and does not say what it made."""

    def answer(received: Received) -> Reply:
        bre.store.resources.append(json.loads(received.body) | {"id": "77"})
        return Reply(status)

    return answer


@pytest.mark.parametrize(
    "headers",
    [
        {"Location": "http://internal:8080/other/Practitioner/77/_history/1"},
        {"Location": "Practitioner/77"},
        {"Content-Location": "/fhir/Practitioner/77"},
    ],
)
@pytest.mark.parametrize("status", [200, 201])
async def test_a_home_that_says_where(headers: dict[str, str], status: int) -> None:
    async with at_scripted(Reply(status, b"", headers)) as (world, _):
        done = await world.prepare(MINE, "bre")
    assert json.loads(done.body)["practitioner"] == reference("Practitioner/77")
    assert done.created[0].created is (status == 201)


async def test_a_home_that_shows_what_it_made() -> None:
    async with at_scripted(reply(practitioner("77"), 201)) as (world, bre):
        done = await world.prepare(MINE, "bre")
        sent = bre.requests[-1]
    assert json.loads(done.body)["practitioner"] == reference("Practitioner/77")
    assert sent.method == "POST"
    assert sent.headers["if-none-exist"] == "identifier=https://rpps.esante.gouv.fr%7C10000000001"
    assert "id" not in json.loads(sent.body)


@pytest.mark.parametrize("status", [200, 201, 412, 502, 504])
async def test_a_home_that_does_not_say_is_searched(status: int) -> None:
    async with at_scripted(None) as (world, bre):
        bre.replies["Practitioner"] = created_and_silent(bre, status)
        done = await world.prepare(MINE, "bre")
    assert json.loads(done.body)["practitioner"] == reference("Practitioner/77")


async def test_an_answer_that_never_came_is_looked_for() -> None:
    async with at_scripted(None) as (world, bre):

        def vanish(received: Received) -> Reply:
            bre.store.resources.append(json.loads(received.body) | {"id": "77"})
            bre.faults.cut, bre.faults.times = True, 0  # this answer, and no other
            return Reply(201, b"x" * 100)

        bre.replies["Practitioner"] = vanish
        done = await world.prepare(MINE, "bre")
        assert [one.path for one in bre.requests].count("Practitioner") == 1  # never sent again
    assert json.loads(done.body)["practitioner"] == reference("Practitioner/77")
    assert done.created[0].created is False


async def test_an_answer_that_never_came_to_a_write_that_did_not_happen() -> None:
    async with at_scripted(Reply(502, b"proxy")) as (world, bre):
        error = await refused(world.prepare(MINE, "bre"))
        assert [one.path for one in bre.requests].count("Practitioner") == 1
    assert status_of(error) == 503
    assert ("write.reference-unavailable", ("PractitionerRole.practitioner",)) in told(error)


async def test_a_home_that_finds_several_and_cannot_tell() -> None:
    async with at_scripted(None) as (world, bre):

        def several(received: Received) -> Reply:
            bre.store.resources += [practitioner("a"), practitioner("b")]
            return reply(operation_outcome(), 412)

        bre.replies["Practitioner"] = several
        error = await refused(world.prepare(MINE, "bre"))
    assert told(error) == {("write.reference-ambiguous", ("PractitionerRole.practitioner",))}


async def test_a_home_that_refuses_says_why() -> None:
    async with at_scripted(reply(operation_outcome("name is missing"), 422)) as (world, _):
        error = await refused(world.prepare(MINE, "bre"))
    assert told(error) == {
        ("write.reference-refused", ("PractitionerRole.practitioner",)),
        ("manager.reported", ()),
    }
    assert error.issues[1].diagnostics == "name is missing"


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_a_home_that_fails(status: int) -> None:
    async with at_scripted(reply(operation_outcome(), status)) as (world, _):
        error = await refused(world.prepare(MINE, "bre"))
    assert status_of(error) == 503


async def test_no_identifier_of_a_person_is_in_a_url() -> None:
    async with (
        scripted_manager() as bre,
        scripted_manager([patient("p1")]) as occ,
        mirror_world(bre=bre.base_url, occ=occ.base_url) as world,
    ):
        bre.replies["Patient"] = Reply(201, b"", {"Location": "Patient/9"})
        await world.prepare(care_team("x", subject="Patient/occ.p1"), "bre")
        seen = [*bre.requests, *occ.requests]
        assert [one.path for one in bre.requests] == ["Patient/_search", "Patient"]
    assert not any(INS[0] in one.raw_path for one in seen)
    assert INS[0] in bre.requests[1].headers["if-none-exist"]


async def test_each_actor_is_read_once_and_a_few_at_a_time() -> None:
    actors = [organization(f"o{n}", str(n)) for n in range(30)]
    async with (
        running_sandbox(actors) as bre,
        scripted_manager(actors) as occ,
        mirror_world(bre=bre.base_url, occ=occ.base_url) as world,
    ):
        occ.faults.delay = 0.01
        members = [f"Organization/occ.o{n}" for n in range(30)] * 2
        await world.prepare(care_team("x", subject="Patient/bre.1", participants=members), "bre")
        assert len(occ.requests) == 30
        assert 1 < occ.max_active <= 8


# --- for a transaction


async def test_a_plan_writes_nothing() -> None:
    async with two([practitioner("mine")]) as both:
        wanted = [("Bundle.entry[0].resource.participant[0].member", "PractitionerRole/occ.r1")]
        plan = await both.world.plan(wanted, "bre")
        again = await both.world.plan(wanted, "bre")
        assert both.held("PractitionerRole") == both.held("Organization") == []
    assert [copy.original for copy in plan.copies] == [
        "Organization/occ.o2",
        "Organization/occ.o1",
        "PractitionerRole/occ.r1",
    ]
    copied_role = plan.copies[-1]
    assert plan.references == {"PractitionerRole/occ.r1": copied_role.full_url}
    assert copied_role.full_url.startswith("urn:uuid:")
    assert copied_role.resource["practitioner"] == reference("Practitioner/mine")
    assert copied_role.resource["organization"] == reference(plan.copies[1].full_url)
    assert copied_role.criterion == "identifier=urn:roles%7Cr1"
    assert again == plan  # the same on every node, and when it is asked again


async def test_a_plan_tells_what_was_known_before_too() -> None:
    async with two() as both:
        wanted = [("Bundle.entry[1].resource.subject", "Patient/occ.404")]
        home = both.world.managers.held["bre"]
        error = await refused(
            both.world.mirroring.plan(
                wanted, home, both.world.context(), unknown=["Bundle.entry[0].resource.partOf"]
            )
        )
    assert told(error) == {
        ("write.reference-unknown", ("Bundle.entry[0].resource.partOf", "Bundle.entry[1].resource.subject"))
    }
