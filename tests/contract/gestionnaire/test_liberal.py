"""What a manager should take although the guide is not plain about it (cds.md section 2, "Be liberal").

The guide's two example requests carry quirks of their own. The sandbox and the broker take them; of another
manager it is not asked.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

import pytest

from .client import Gestionnaire, Json, entries, key, keys, matches, refused
from .criteria import CIRCLE_DATES, assert_found, telling
from .world import World, references, token


def with_patient(world: World) -> tuple[Json, Json]:
    """A circle and its patient, who has an identifier of a system."""
    for circle in world.circles:
        patient = world.actor(circle["subject"])
        if patient is not None and "system" in (patient.get("identifier") or [{}])[0]:
            return circle, patient
    pytest.skip("no circle found has a patient with an identifier")


def raw(text: str) -> str:
    """A query as it stands in the guide, with no more escaped than a URL needs."""
    return quote(text, safe="=&:;/?*|\\%+,.-_~")


async def searched(gestionnaire: Gestionnaire, target: str) -> Json:
    """`target` is sent as it is, without the client's own escaping."""
    import yarl

    url = yarl.URL(f"{gestionnaire.base_url}/{target}", encoded=True)
    async with gestionnaire.session.get(url, headers={"Accept": "application/fhir+json"}) as response:
        body: Json = await response.json(content_type=None)
        assert response.status == 200, body
        return body


@pytest.mark.parametrize("bar", ["\\|", "%5C%7C", "%7C", "|"])
async def test_the_guides_first_example(gestionnaire: Gestionnaire, world: World, bar: str) -> None:
    """`GET …/Careteam?_include:iterate=*&patient.identifier=http://exAutoriteAffectation/patient\\|123456`"""
    circle, patient = with_patient(world)
    identifier = patient["identifier"][0]
    query = f"_include:iterate=*&patient.identifier={identifier['system']}{bar}{identifier['value']}"
    bundle = await searched(gestionnaire, f"Careteam?{raw(query)}")
    assert key(circle) in keys(matches(bundle))
    found = set(keys(entry["resource"] for entry in entries(bundle) if entry["search"]["mode"] == "include"))
    wanted = references(circle) & world.actors.keys()
    while further := _beyond(world, wanted):
        wanted |= further
    assert wanted <= found, "a bare `_include:iterate=*` brings everybody, whoever they refer to as well"


def _beyond(world: World, known: set[str]) -> set[str]:
    return {name for one in known for name in references(world.actors[one])} & world.actors.keys() - known


async def test_the_guides_second_example(gestionnaire: Gestionnaire, world: World) -> None:
    """`GET …/Careteam?_include:iterate =CareTeam:subject&participant:RelatedPerson.name:exact=Ducros&…`"""
    for circle in world.circles:
        for contact in world.members(circle, "RelatedPerson"):
            city = next((a["city"] for a in contact.get("address", []) if "city" in a), None)
            family = (contact.get("name") or [{}])[0].get("family")
            if city and family:
                query = (
                    f"_include:iterate =CareTeam:subject&participant:RelatedPerson.name:exact={quote(family)}"
                )
                query += f"&participant:RelatedPerson.address={quote(city)}"
                bundle = await searched(gestionnaire, f"Careteam?{query.replace(' ', '%20')}")
                assert key(circle) in keys(matches(bundle))
                included = [e["resource"] for e in entries(bundle) if e["search"]["mode"] == "include"]
                assert {resource["resourceType"] for resource in included} == {"Patient"}
                return
    assert not world.created
    pytest.skip("no circle found has a contact with an address")


@pytest.mark.parametrize(
    ("alias", "code"),
    [
        ("CDSCareTeamStart", "start"),
        ("CDSCareTeamEnd", "end"),
        ("CDSCareTeamParticipantStart", "participant-start"),
        ("CDSCareTeamParticipantEnd", "participant-end"),
    ],
)
async def test_the_names_of_the_consommateur_statement_stand_for_their_codes(
    gestionnaire: Gestionnaire, world: World, alias: str, code: str
) -> None:
    circles = list(world.circles)
    parameter = next(parameter for parameter in CIRCLE_DATES if parameter.name == code)
    days = [value for circle in circles for value in parameter.candidates(world, circle)]
    judge = partial(parameter.verdicts, world, circles)
    value = telling(world, circles, [f"ge{day}" for day in sorted(days)], judge)
    await assert_found(gestionnaire, world, [(alias, value)], judge(value))


async def test_the_managing_organization_by_its_consommateur_name(
    gestionnaire: Gestionnaire, world: World
) -> None:
    for circle in world.circles:
        for manager in circle.get("managingOrganization", []):
            params = [*world.scope(), ("CareTeamManagingOrganization", manager["reference"])]
            found = keys(await gestionnaire.search_all("CareTeam", params))
            assert key(circle) in found
            assert set(found) == {
                key(c) for c in world.circles if manager in c.get("managingOrganization", [])
            }
            return
    pytest.skip("no circle found has a managing organisation")


async def test_the_type_in_the_guides_spelling_can_be_posted_to(
    gestionnaire: Gestionnaire, world: World
) -> None:
    circle = world.circles[0]
    params = [("identifier", token(circle["identifier"][0]))]
    answer = await gestionnaire.send("POST", "Careteam/_search", form=params)
    assert answer.status == 200
    assert key(circle) in keys(matches(answer.json))


async def test_the_request_id_is_echoed(gestionnaire: Gestionnaire, world: World) -> None:
    answer = await gestionnaire.get(key(world.circles[0]), X_Request_Id="contract-4711")
    assert answer.headers.get("x-request-id") == "contract-4711"


async def test_a_chain_that_leads_nowhere_is_refused_under_strict_handling(
    gestionnaire: Gestionnaire,
) -> None:
    answer = await gestionnaire.get("CareTeam", [("patient.nonsense", "1")], Prefer="handling=strict")
    refused(answer, 400)
