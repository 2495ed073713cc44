"""A located search asks the holders and whoever is not covered, and answers what asking everybody answers."""

from __future__ import annotations

from typing import Any

from adapters.sandbox.app import running_sandbox
from registry.model import Gestionnaire
from registry.redis_keys import RedisKeys
from tests.component.test_search_federated import circles, over
from tests.support.federation import Broker, federation, ids, outcome_codes
from tests.support.fhir_builders import CIRCLE_SYSTEM, INS_TEST, Resource, care_team, patient
from tests.support.scripted_manager import ScriptedManager, scripted_manager
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until


def person(number: int) -> str:
    return f"{INS_TEST}|{number:013d}00"


async def covered(broker: Broker) -> None:
    """Wait until the index holds everything of every manager."""

    async def states() -> list[str]:
        async with broker.http.get(broker.base_url.removesuffix("/fhir") + "/registry/locator") as response:
            return [one["state"] for one in (await response.json())["managers"]]

    async def complete() -> bool:
        found = await states()
        return bool(found) and set(found) == {"complete"}

    await until(complete, seconds=20)


def searches(manager: ScriptedManager) -> list[dict[str, str]]:
    """The searches for a person or a circle that a manager got from clients."""
    asked = (dict(one.params) for one in manager.requests if one.path.endswith("_search"))
    return [one for one in asked if "patient.identifier" in one or "identifier" in one]


async def test_only_holders_are_asked(valkey: Valkey) -> None:
    held = {
        "bre": circles("bre", range(3)),
        "occ": circles("occ", range(3, 6)),
        "idf": circles("idf", range(6, 9)),
    }
    async with over(valkey, held, locator=True, locator_poll=0.2) as (broker, _):
        await covered(broker)
        everybody = await broker.bundle("CareTeam?status=active&_count=20")
        assert len(ids(everybody)) == 9
        for number, slug in ((1, "bre"), (4, "occ"), (8, "idf")):
            bundle = await broker.bundle(
                f"CareTeam?patient.identifier={person(number)}&_include=CareTeam:subject"
            )
            assert ids(bundle) == [f"{slug}.c{number}"]
            assert ids(bundle, "include") == [f"{slug}.p{number}"]
            assert bundle["total"] == 1
            by_circle = await broker.bundle(f"CareTeam?identifier={CIRCLE_SYSTEM}|{slug}-{number}")
            assert ids(by_circle) == [f"{slug}.c{number}"]
            plan = await explained(broker, f"CareTeam?patient.identifier={person(number)}")
            assert plan["asked"] == [slug]
            assert set(plan["left_out"]) == {"bre", "occ", "idf"} - {slug}
        nobody = await broker.bundle(f"CareTeam?patient.identifier={person(77)}")
        assert (ids(nobody), nobody["total"], outcome_codes(nobody)) == ([], 0, [])
        unnamed = await explained(broker, "CareTeam?patient.identifier=1")
        assert len(unnamed["asked"]) == 3, "a value without its system may be anybody's"


async def explained(broker: Broker, search: str) -> dict[str, Any]:
    """Who is asked and who is left out, by POST /registry/plan."""
    url = broker.base_url.removesuffix("/fhir") + "/registry/plan"
    async with broker.http.post(url, json={"search": search}) as response:
        text = await response.text()
        assert response.status == 200, text
        assert "00000" not in text, "the identifier is not shown"
        managers = (await response.json())["managers"]
    return {
        "asked": [one["id"] for one in managers if one["asked"]],
        "left_out": [one["id"] for one in managers if not one["asked"]],
    }


async def test_what_changes_is_followed(valkey: Valkey) -> None:
    held = {"bre": circles("bre", range(3)), "occ": circles("occ", range(3, 6))}
    async with over(valkey, held, locator=True, locator_poll=0.1) as (broker, boxes):
        await covered(broker)
        box = boxes["occ"]
        moved: list[Resource] = [
            patient("new", ins=f"{1:013d}00"),
            care_team("moved", subject="Patient/new", identifier="m"),
        ]
        for resource in moved:
            url = f"{box.base_url}/{resource['resourceType']}/{resource['id']}"
            async with broker.http.put(url, json=resource) as response:
                assert response.status == 201, await response.text()

        async def both() -> bool:
            bundle = await broker.bundle(f"CareTeam?patient.identifier={person(1)}")
            return set(ids(bundle)) == {"bre.c1", "occ.moved"}

        await until(both, seconds=10)
        conflict = await broker.bundle(f"CareTeam?patient.identifier={person(1)}")
        assert ("merge.conflict", None) in outcome_codes(conflict)

        async def counted() -> bool:
            async with broker.http.get(broker.base_url.removesuffix("/fhir") + "/metrics") as response:
                return "cds_conflicts 1.0" in await response.text()

        await until(counted, seconds=15)


async def test_locate_answers_with_pointers_and_who_is_not_covered(valkey: Valkey) -> None:
    held = {"bre": circles("bre", range(3)), "occ": circles("occ", range(3, 6))}
    async with (
        over(valkey, held, locator=True, locator_poll=0.2) as (broker, boxes),
        scripted_manager() as late,
    ):
        await covered(broker)
        found = (await broker.post("CareTeam/$locate", {"patient.identifier": person(4)})).json
        (circle,) = found["parameter"]
        parts = {part["name"]: part for part in circle["part"]}
        assert parts["gestionnaire"]["valueCode"] == "occ"
        assert parts["endpoint"]["valueUrl"] == boxes["occ"].base_url
        assert parts["id"]["valueId"] == "c4"
        assert parts["reference"]["valueReference"]["reference"] == "CareTeam/occ.c4"
        assert parts["home"]["valueBoolean"] is True
        late.faults.hang = True
        await broker.running.store.put(late.gestionnaire("idf", region="11"))
        await broker.running.managers.refresh()
        partly = (await broker.get(f"CareTeam/$locate?patient.identifier={person(4)}")).json
        unknown = [one for one in partly["parameter"] if one["name"] == "unknown"]
        assert [one["part"][0]["valueCode"] for one in unknown] == ["idf"]
        for target in ("CareTeam/$locate", "CareTeam/$locate?status=active", "CareTeam/$locate?colour=blue"):
            refused = await broker.get(target)
            assert refused.status == 400
            assert refused.json["resourceType"] == "OperationOutcome"


async def test_a_store_that_is_out_or_emptied_means_everybody(own_valkey: ValkeyServer) -> None:
    valkey = Valkey(own_valkey.url, RedisKeys("t"))
    async with (
        running_sandbox(circles("bre", range(3))) as bre,
        running_sandbox(circles("occ", range(3, 6))) as occ,
        federation(
            valkey,
            Gestionnaire("bre", "Bretagne", "53", bre.base_url),
            Gestionnaire("occ", "Occitanie", "76", occ.base_url),
            checked=True,
            locator=True,
            locator_poll=0.2,
        ) as broker,
    ):
        await covered(broker)
        target = f"CareTeam?patient.identifier={person(4)}"
        assert (await explained(broker, target))["asked"] == ["occ"]
        own_valkey.kill()
        bundle = await broker.bundle(target)
        assert ids(bundle) == ["occ.c4"]
        assert (await explained(broker, target))["asked"] == ["bre", "occ"]
        async with broker.http.get(broker.base_url.removesuffix("/fhir") + "/metrics") as response:
            text = await response.text()
        assert "cds_locator_up 0.0" in text
        assert person(4).partition("|")[2] not in text
        own_valkey.restart()
