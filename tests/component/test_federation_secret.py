"""Page links and the federation's name have a secret of their own, so that the locator's may be rotated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.sandbox.app import running_sandbox
from broker.core.statement import read_statement
from broker.errors import ConfigurationError
from broker.locator_secret import federation_secrets
from broker.settings import Settings
from registry.model import Gestionnaire
from tests.support.federation import Answered, federation, link
from tests.support.fhir_builders import care_team, patient
from tests.support.valkey import Valkey

FIRST, SECOND = b"the locator's first secret", b"the locator's second secret"
OWN = "the federation's own secret"
PUBLIC = "http://cds.example/fhir"


def resources() -> list[dict[str, Any]]:
    return [
        patient("p1", ins="1"),
        *(
            care_team(f"c{number}", subject="Patient/p1", last_updated=f"2026-01-0{number}T10:00:00Z")
            for number in (1, 2, 3)
        ),
    ]


async def first_then_followed(valkey: Valkey, before: dict[str, Any], after: dict[str, Any]) -> Answered:
    """What a link made by a node with the settings `before` is answered by one with `after`."""
    async with running_sandbox(resources()) as box:
        manager = Gestionnaire("bre", "Bretagne", "53", box.base_url)
        async with federation(valkey, manager, checked=True, public_url=PUBLIC, **before) as broker:
            here = f"http://127.0.0.1:{broker.running.settings.port}/fhir"
            following = link((await broker.get(f"{here}/CareTeam?_count=1")).json, "next")
            assert following is not None
        async with federation(valkey, manager, checked=True, public_url=PUBLIC, **after) as broker:
            here = f"http://127.0.0.1:{broker.running.settings.port}/fhir"
            return await broker.get(following.replace(PUBLIC, here))


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ({"secret": FIRST}, {"secret": SECOND}, 400),
        ({"secret": FIRST}, {"secret": SECOND, "locator_previous_secret": FIRST.decode()}, 200),
        ({"secret": FIRST, "federation_secret": OWN}, {"secret": SECOND, "federation_secret": OWN}, 200),
        ({"secret": FIRST}, {"secret": FIRST, "federation_secret": OWN}, 200),
        ({"secret": FIRST, "federation_secret": OWN}, {"secret": FIRST}, 400),
    ],
    ids=["rotated", "rotated, the one before given", "rotated, own", "own from now on", "own no more"],
)
async def test_links_outlive_a_rotation(
    valkey: Valkey, before: dict[str, Any], after: dict[str, Any], status: int
) -> None:
    answered = await first_then_followed(valkey, before, after)
    assert answered.status == status, answered.body
    if status == 200:
        assert [entry["resource"]["id"] for entry in answered.json["entry"]] == ["bre.c2"]


async def name_of(valkey: Valkey, **given: Any) -> str:
    """Under which other brokers know the federation."""
    async with federation(valkey, public_url=PUBLIC, **given) as broker:
        here = f"http://127.0.0.1:{broker.running.settings.port}/fhir"
        stated = read_statement((await broker.get(f"{here}/metadata")).body)
        assert stated is not None
        return stated.federations[0]


async def test_the_name_outlives_a_rotation_where_it_has_its_own_secret(valkey: Valkey) -> None:
    names = [await name_of(valkey, secret=one, federation_secret=OWN) for one in (FIRST, SECOND)]
    assert names[0] == names[1]
    derived = [await name_of(valkey, secret=one) for one in (FIRST, SECOND)]
    assert len({*names, *derived}) == 3


def test_a_secret_is_given_one_way(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{OWN}\n")
    given = federation_secrets(Settings.load(auth="none", federation_secret_file=file), (FIRST,))
    assert given == (OWN.encode(), FIRST)
    assert federation_secrets(Settings.load(auth="none"), (FIRST, SECOND)) == (FIRST, SECOND)
    for wrong in ({"federation_secret": "short"}, {"federation_secret": OWN, "federation_secret_file": file}):
        with pytest.raises(ConfigurationError):
            Settings.load(auth="none", **wrong)
    with pytest.raises(ConfigurationError) as refused:
        federation_secrets(Settings.load(auth="none", federation_secret_file=tmp_path / "none"), (FIRST,))
    assert refused.value.params["setting"] == "CDS_FEDERATION_SECRET_FILE"
