"""A `self` link that shows a criterion was not applied is believed on the first page, and remembered on later ones.

The `self` of a later page is an opaque link as often as not: it says nothing of criteria.
"""

from __future__ import annotations

from typing import Any

import pytest

from adapters.sandbox.app import running_sandbox
from adapters.sandbox.options import SandboxOptions
from registry.model import Gestionnaire
from tests.support.federation import federation, ids, outcome_codes
from tests.support.fhir_builders import care_team, patient
from tests.support.valkey import Valkey

Resource = dict[str, Any]

HELD: list[Resource] = [patient("p1", family="Un"), patient("p2", family="Deux")]
HELD += [
    care_team(
        f"c{number}",
        last_updated=f"2026-01-{number:02}T00:00:00Z",
        subject=f"Patient/p{1 + number % 2}",
        status="active" if number % 3 else "inactive",
    )
    for number in range(1, 13)
]
ODD = [f"bre.c{number}" for number in range(12, 0, -1) if number % 2]
ACTIVE = [f"bre.c{number}" for number in range(12, 0, -1) if number % 3]


async def found(valkey: Valkey, options: SandboxOptions, target: str, *, checked: bool) -> list[str]:
    async with running_sandbox(HELD, options=options) as box:
        manager = Gestionnaire("bre", "Bretagne", "53", box.base_url)
        async with federation(valkey, manager, checked=checked) as broker:
            pages = await broker.pages(target)
            told = {key for page in pages for key, _ in outcome_codes(page)}
            assert told <= {"merge.conflict"}  # the two persons have six circles each
            return [one for page in pages for one in ids(page)]


@pytest.mark.parametrize("getpages", [False, True], ids=["_page", "_getpages"])
@pytest.mark.parametrize("count", [1, 4, 50])
async def test_a_chain_goes_on_over_pages_whose_self_link_does_not_name_it(
    valkey: Valkey, count: int, *, getpages: bool
) -> None:
    options = SandboxOptions(max_page=2, getpages_links=getpages)
    target = f"CareTeam?patient.family=deux&_count={count}"
    assert await found(valkey, options, target, checked=True) == ODD


@pytest.mark.parametrize("getpages", [False, True], ids=["_page", "_getpages"])
@pytest.mark.parametrize("count", [1, 3, 50])
async def test_an_ignored_criterion_is_applied_here_on_every_page(
    valkey: Valkey, count: int, *, getpages: bool
) -> None:
    options = SandboxOptions(max_page=2, getpages_links=getpages, ignored_params=frozenset({"status"}))
    target = f"CareTeam?status=active&_count={count}"
    assert await found(valkey, options, target, checked=False) == ACTIVE
