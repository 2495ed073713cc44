"""`_include`, `:iterate`, `_revinclude`: who comes with the matches (FHIR R4, search.html#include)."""

from __future__ import annotations

import pytest

from .client import Gestionnaire, Json, entries, included, key, keys, matches, target_of
from .criteria import steps, walk
from .world import World, references

DIRECT = [
    ("CareTeam:subject", "subject.reference", None),
    ("CareTeam:patient", "subject.reference", None),
    ("CareTeam:participant", "participant.member.reference", None),
    ("CareTeam:participant:RelatedPerson", "participant.member.reference", "RelatedPerson"),
    ("CareTeam:participant:PractitionerRole", "participant.member.reference", "PractitionerRole"),
    ("CareTeam:participant:Organization", "participant.member.reference", "Organization"),
    ("CareTeam:managingOrganization", "managingOrganization.reference", None),
]


def targets(world: World, resources: list[Json], path: str, resource_type: str | None = None) -> set[str]:
    """`Type/id` of what the resources refer to at a path, as far as the server holds it."""
    found = {target_of(str(value)) for resource in resources for value in walk(resource, steps(path))}
    found &= world.actors.keys()
    return {target for target in found if resource_type in (None, target.partition("/")[0])}


async def bundle_of(gestionnaire: Gestionnaire, world: World, *params: tuple[str, str]) -> Json:
    bundle = await gestionnaire.search("CareTeam", [*world.scope(), *params])
    urls = [entry["fullUrl"] for entry in entries(bundle) if entry["search"]["mode"] != "outcome"]
    assert len(urls) == len(set(urls)), "a resource came twice"
    assert matches(bundle)
    return bundle


@pytest.mark.parametrize(("value", "path", "resource_type"), DIRECT, ids=[value for value, _, _ in DIRECT])
async def test_an_include_brings_what_the_matches_refer_to_and_nothing_else(
    gestionnaire: Gestionnaire, world: World, value: str, path: str, resource_type: str | None
) -> None:
    bundle = await bundle_of(gestionnaire, world, ("_include", value))
    expected = targets(world, matches(bundle), path, resource_type)
    if not expected:
        assert not world.created
        pytest.skip("no circle found refers to one")
    assert set(keys(included(bundle))) == expected


async def test_includes_add_up(gestionnaire: Gestionnaire, world: World) -> None:
    two = [("_include", "CareTeam:subject"), ("_include", "CareTeam:managingOrganization")]
    bundle = await bundle_of(gestionnaire, world, *two)
    expected = targets(world, matches(bundle), "subject.reference")
    expected |= targets(world, matches(bundle), "managingOrganization.reference")
    assert set(keys(included(bundle))) == expected


async def test_star_brings_everything_that_the_matches_refer_to(
    gestionnaire: Gestionnaire, world: World
) -> None:
    bundle = await bundle_of(gestionnaire, world, ("_include", "*"))
    expected = {target for circle in matches(bundle) for target in references(circle)} & world.actors.keys()
    assert set(keys(included(bundle))) == expected


async def test_only_iterate_goes_on_from_what_was_included(gestionnaire: Gestionnaire, world: World) -> None:
    first = ("_include", "CareTeam:participant:PractitionerRole")
    plain = await bundle_of(gestionnaire, world, first, ("_include", "PractitionerRole:practitioner"))
    roles = targets(world, matches(plain), "participant.member.reference", "PractitionerRole")
    assert set(keys(included(plain))) == roles
    iterated = await bundle_of(
        gestionnaire, world, first, ("_include:iterate", "PractitionerRole:practitioner")
    )
    held = [world.actors[role] for role in roles]
    assert set(keys(included(iterated))) == roles | targets(world, held, "practitioner.reference")
    if not roles:
        assert not world.created
        pytest.skip("no circle found has a professional among its members")


async def test_iterate_goes_on_until_nothing_new_comes(gestionnaire: Gestionnaire, world: World) -> None:
    bundle = await bundle_of(
        gestionnaire,
        world,
        ("_include", "CareTeam:participant:Organization"),
        ("_include:iterate", "Organization:partof"),
    )
    expected = targets(world, matches(bundle), "participant.member.reference", "Organization")
    for _ in range(5):
        held = [world.actors[structure] for structure in expected]
        expected |= targets(world, held, "partOf.reference")
    if not expected:
        assert not world.created
        pytest.skip("no circle found has a structure among its members")
    assert set(keys(included(bundle))) == expected


async def test_a_reverse_include_brings_who_refers_to_the_matches(
    gestionnaire: Gestionnaire, world: World
) -> None:
    circle = next(circle for circle in world.circles if world.actor(circle["subject"]))
    patient = world.actor(circle["subject"])
    assert patient is not None
    params = [("_id", patient["id"]), ("_revinclude", "CareTeam:subject")]
    bundle = await gestionnaire.search("Patient", params)
    assert keys(matches(bundle)) == [key(patient)]
    assert key(circle) in keys(included(bundle))
    for resource in included(bundle):
        assert resource["resourceType"] == "CareTeam"
        assert target_of(resource["subject"]["reference"]) == key(patient)


async def test_reverse_includes_from_contacts(gestionnaire: Gestionnaire, world: World) -> None:
    for contact in world.of_type("RelatedPerson"):
        patient = world.actor(contact.get("patient"))
        if patient is not None:
            params = [("_id", patient["id"]), ("_revinclude", "RelatedPerson:patient")]
            bundle = await gestionnaire.search("Patient", params)
            assert key(contact) in keys(included(bundle))
            return
    assert not world.created
    pytest.skip("no contact was found")
