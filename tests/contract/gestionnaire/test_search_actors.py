"""Searches on the actor types: every parameter the Gestionnaire statement lists there (cds.md section 2)."""

from __future__ import annotations

from functools import partial

import pytest

from .client import Gestionnaire
from .criteria import ACTORS, Parameter, assert_found, telling
from .world import World

CASES = [
    pytest.param(kind, parameter, id=f"{kind}.{parameter.name}")
    for kind, parameters in ACTORS.items()
    for parameter in parameters
]


@pytest.mark.parametrize(("resource_type", "parameter"), CASES)
async def test_a_value_finds_the_actors_that_have_it(
    gestionnaire: Gestionnaire, world: World, resource_type: str, parameter: Parameter
) -> None:
    by_id = resource_type in {"RelatedPerson", "PractitionerRole"}
    actors = [actor for actor in world.of_type(resource_type) if by_id or actor.get("identifier")]
    if not actors:
        assert not world.created
        pytest.skip(f"no {resource_type} with an identifier was found")
    judge = partial(parameter.verdicts, world, actors)
    values = [value for actor in actors for value in parameter.candidates(world, actor)]
    value = telling(world, actors, values, judge)
    await assert_found(gestionnaire, world, [(parameter.name, value)], judge(value))
