"""Flux 2a: each search parameter of CareTeam in the Gestionnaire statement (cds.md section 2)."""

from __future__ import annotations

from functools import partial

import pytest

from .client import Gestionnaire, Json, key, keys
from .criteria import CIRCLE, CIRCLE_DATES, Parameter, assert_found, telling
from .world import World, token

PREFIXES = ("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
IDENTIFIER, STATUS = CIRCLE[0], CIRCLE[1]


def values_of(parameter: Parameter, world: World) -> list[str]:
    """What the circles held offer to search by."""
    return [value for circle in world.circles for value in parameter.candidates(world, circle)]


def named(parameter: Parameter) -> str:
    return parameter.name


@pytest.mark.parametrize("parameter", CIRCLE, ids=named)
async def test_a_value_finds_the_circles_that_have_it(
    gestionnaire: Gestionnaire, world: World, parameter: Parameter
) -> None:
    circles = list(world.circles)
    judge = partial(parameter.verdicts, world, circles)
    value = telling(world, circles, values_of(parameter, world), judge)
    await assert_found(gestionnaire, world, [(parameter.name, value)], judge(value))


@pytest.mark.parametrize("parameter", CIRCLE, ids=named)
async def test_commas_mean_or(gestionnaire: Gestionnaire, world: World, parameter: Parameter) -> None:
    values = list(dict.fromkeys(values_of(parameter, world)))[:2]
    if len(values) < 2:
        assert not world.created
        pytest.skip(f"the circles found have fewer than two values of {parameter.name}")
    each = [parameter.verdicts(world, world.circles, value) for value in values]
    verdicts = {key(circle): any(verdict[key(circle)] for verdict in each) for circle in world.circles}
    await assert_found(gestionnaire, world, [(parameter.name, ",".join(values))], verdicts)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("parameter", CIRCLE_DATES[:-1], ids=named)
async def test_dates_with_every_prefix(
    gestionnaire: Gestionnaire, world: World, parameter: Parameter, prefix: str
) -> None:
    circles = list(world.circles)
    judge = partial(parameter.verdicts, world, circles)
    held = values_of(parameter, world)
    if not held:
        assert not world.created
        pytest.skip(f"no circle found has a value of {parameter.name}")
    # the days held, and others off their edges
    days = sorted({*held, "1900-01-01", "2022-12-01", "2024-01-31", "2024-02-15", "2100-01-01"})
    candidates = [f"{prefix}{day}" for day in days]
    # a year contains whole periods, which a day seldom does
    candidates += [f"{prefix}{year}" for year in sorted({day[:4] for day in days})]
    if prefix == "ap":
        value = next((value for value in candidates if True in judge(value).values()), candidates[0])
    else:
        value = telling(world, circles, candidates, judge)
    await assert_found(gestionnaire, world, [(parameter.name, value)], judge(value))


@pytest.mark.parametrize("parameter", CIRCLE_DATES[:2], ids=named)
async def test_dates_of_lesser_precision_stand_for_their_whole_interval(
    gestionnaire: Gestionnaire, world: World, parameter: Parameter
) -> None:
    circles = list(world.circles)
    judge = partial(parameter.verdicts, world, circles)
    days = values_of(parameter, world)
    value = telling(world, circles, [day[:length] for length in (4, 7) for day in days], judge)
    await assert_found(gestionnaire, world, [(parameter.name, value)], judge(value))


async def test_a_repeated_date_parameter_means_and(gestionnaire: Gestionnaire, world: World) -> None:
    start = CIRCLE_DATES[0]
    days = sorted(values_of(start, world))
    low, high = f"ge{days[len(days) // 3]}", f"le{days[2 * len(days) // 3]}"
    both = [start.verdicts(world, world.circles, value) for value in (low, high)]
    verdicts = {key(circle): _all([verdict[key(circle)] for verdict in both]) for circle in world.circles}
    await assert_found(gestionnaire, world, [("start", low), ("start", high)], verdicts)


async def test_commas_in_a_date_parameter_mean_or(gestionnaire: Gestionnaire, world: World) -> None:
    start = CIRCLE_DATES[0]
    days = sorted(set(values_of(start, world)))
    if len(days) < 3:
        pytest.skip("the circles found start on fewer than three days")
    low, high = f"lt{days[1]}", f"gt{days[-2]}"
    either = [start.verdicts(world, world.circles, value) for value in (low, high)]
    verdicts = {key(circle): _any([verdict[key(circle)] for verdict in either]) for circle in world.circles}
    await assert_found(gestionnaire, world, [("start", f"{low},{high}")], verdicts)


def _all(verdicts: list[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _any(verdicts: list[bool | None]) -> bool | None:
    return True if True in verdicts else None if None in verdicts else False


async def test_last_updated_tells_before_from_after(gestionnaire: Gestionnaire, world: World) -> None:
    instants = sorted({circle["meta"]["lastUpdated"] for circle in world.circles})
    middle = instants[len(instants) // 2]
    for prefix in ("ge", "lt"):
        verdicts = CIRCLE_DATES[-1].verdicts(world, world.circles, f"{prefix}{middle}")
        if True in verdicts.values():
            await assert_found(gestionnaire, world, [("_lastUpdated", f"{prefix}{middle}")], verdicts)


async def test_several_parameters_mean_and(gestionnaire: Gestionnaire, world: World) -> None:
    circle = world.circles[0]
    identifier, status = token(circle["identifier"][0]), circle["status"]
    other = "inactive" if status != "inactive" else "active"
    found = await gestionnaire.search_all("CareTeam", [("identifier", identifier), ("status", status)])
    assert key(circle) in keys(found)
    found = await gestionnaire.search_all("CareTeam", [("identifier", identifier), ("status", other)])
    assert key(circle) not in keys(found)


async def test_a_circle_is_found_by_its_id(gestionnaire: Gestionnaire, world: World) -> None:
    ids = [circle["id"] for circle in world.circles[:2]]
    found = await gestionnaire.search_all("CareTeam", [("_id", ",".join(ids))])
    assert sorted(circle["id"] for circle in found) == sorted(ids)


def _token_forms(identifier: Json) -> list[tuple[str, bool]]:
    system, value = identifier["system"], identifier["value"]
    return [
        (f"{system}|{value}", True),
        (value, True),
        (f"|{value}", False),
        (f"{system}.other|{value}", False),
    ]


async def test_a_token_is_matched_with_its_system(gestionnaire: Gestionnaire, world: World) -> None:
    circle = next((c for c in world.circles if "system" in c["identifier"][0]), None)
    if circle is None:
        pytest.skip("no circle found has an identifier with a system")
    for form, expected in _token_forms(circle["identifier"][0]):
        found = keys(await gestionnaire.search_all("CareTeam", [("_id", circle["id"]), ("identifier", form)]))
        assert (key(circle) in found) is expected, form


@pytest.mark.parametrize("parameter", ["patient", "subject"])
async def test_a_reference_may_be_relative_bare_typed_or_absolute(
    gestionnaire: Gestionnaire, world: World, parameter: str
) -> None:
    circle = world.circles[0]
    [target] = CIRCLE[3].candidates(world, circle)
    patient_id = target.partition("/")[2]
    forms = [
        (parameter, target),
        (parameter, patient_id),
        (f"{parameter}:Patient", patient_id),
        (parameter, f"{gestionnaire.base_url}/{target}"),
    ]
    for name, value in forms:
        verdicts = CIRCLE[3].verdicts(world, world.circles, target)
        await assert_found(gestionnaire, world, [(name, value)], verdicts)
