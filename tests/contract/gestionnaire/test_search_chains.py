"""Flux 2a: the chained criteria that the guide names, and string matching through them (cds.md section 2)."""

from __future__ import annotations

from functools import partial

import pytest

from .client import Gestionnaire, Json, key, matches, right_total
from .criteria import CHAINS, Parameter, Verdicts, assert_found, parts, plain, telling
from .world import World

STRINGS = [parameter for parameter in CHAINS if parameter.kind == "string"]


def named(parameter: Parameter) -> str:
    return parameter.name


def candidates(parameter: Parameter, world: World) -> list[str]:
    return [value for circle in world.circles for value in parameter.candidates(world, circle)]


@pytest.mark.parametrize("parameter", CHAINS, ids=named)
async def test_a_chain_finds_the_circles_of_whom_it_names(
    gestionnaire: Gestionnaire, world: World, parameter: Parameter
) -> None:
    circles = list(world.circles)
    judge = partial(parameter.verdicts, world, circles)
    value = telling(world, circles, candidates(parameter, world), judge)
    await assert_found(gestionnaire, world, [(parameter.name, value)], judge(value))


@pytest.mark.parametrize("parameter", STRINGS, ids=named)
async def test_strings_match_from_the_start_without_case_or_accents(
    gestionnaire: Gestionnaire, world: World, parameter: Parameter
) -> None:
    circles = list(world.circles)
    judge = partial(parameter.verdicts, world, circles)
    forms = [plain(value)[:-1].upper() for value in candidates(parameter, world) if len(value) > 3]
    value = telling(world, circles, forms, judge)
    await assert_found(gestionnaire, world, [(parameter.name, value)], judge(value))


@pytest.mark.parametrize("parameter", STRINGS, ids=named)
async def test_exact_matches_the_whole_text_with_case_and_accents(
    gestionnaire: Gestionnaire, world: World, parameter: Parameter
) -> None:
    circles = list(world.circles)

    def judge(value: str) -> Verdicts:
        return {key(circle): _exactly(parameter, world, circle, value) for circle in circles}

    value = telling(world, circles, candidates(parameter, world), judge)
    await assert_found(gestionnaire, world, [(f"{parameter.name}:exact", value)], judge(value))
    for other in (value.swapcase(), value[:-1]):
        if True not in judge(other).values():
            params = [*world.scope(), (f"{parameter.name}:exact", other)]
            assert await gestionnaire.search_all("CareTeam", params) == [], other


def _exactly(parameter: Parameter, world: World, circle: Json, searched: str) -> bool:
    return any(searched in parts(value) for value in parameter.values(world, circle))


async def test_two_chains_are_evaluated_independently(gestionnaire: Gestionnaire, world: World) -> None:
    """Two members may meet one criterion each (FHIR R4, search.html#chaining)."""
    name, structure = _chain("participant:RelatedPerson.name"), _chain("participant:Organization.name")
    for circle in world.circles:
        contacts, structures = name.candidates(world, circle), structure.candidates(world, circle)
        if contacts and structures:
            params = [(name.name, contacts[0]), (structure.name, structures[0])]
            each = [name.verdicts(world, world.circles, contacts[0])]
            each.append(structure.verdicts(world, world.circles, structures[0]))
            verdicts = {
                k: False if False in (a, b) else None if None in (a, b) else True
                for (k, a), b in zip(each[0].items(), each[1].values(), strict=True)
            }
            await assert_found(gestionnaire, world, params, verdicts)
            return
    assert not world.created
    pytest.skip("no circle found has both a contact and a structure among its members")


async def test_commas_mean_or_at_the_end_of_a_chain(gestionnaire: Gestionnaire, world: World) -> None:
    parameter = _chain("patient.identifier")
    values = candidates(parameter, world)[:2]
    each = [parameter.verdicts(world, world.circles, value) for value in values]
    verdicts = {key(circle): any(verdict[key(circle)] for verdict in each) for circle in world.circles}
    await assert_found(gestionnaire, world, [(parameter.name, ",".join(values))], verdicts)


async def test_the_target_type_of_a_chain_may_be_stated(gestionnaire: Gestionnaire, world: World) -> None:
    parameter = _chain("patient.identifier")
    value = candidates(parameter, world)[0]
    verdicts = parameter.verdicts(world, world.circles, value)
    for name in ("patient:Patient.identifier", "subject:Patient.identifier"):
        await assert_found(gestionnaire, world, [(name, value)], verdicts)


async def test_an_identifier_nobody_has_finds_nothing(gestionnaire: Gestionnaire, world: World) -> None:
    bundle = await gestionnaire.search("CareTeam", [("patient.identifier", "urn:oid:1.2.250.1.213.1.4.10|0")])
    assert right_total(bundle, 0)
    assert not matches(bundle)


def _chain(name: str) -> Parameter:
    return next(parameter for parameter in CHAINS if parameter.name == name)
