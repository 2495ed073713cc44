"""The federation's statement: valid, the guide's, and true of its managers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement

from broker.core.capability import GUIDE, federation_statement
from broker.core.search_parameters import PARAMETERS, TYPES
from registry.model import Gestionnaire, Registered, Skills, Status

BASE = "https://cds.example/fhir"


def _registered(slug: str, region: str, skills: Skills | None = None, **declared: Any) -> Registered:
    manager = Gestionnaire(slug, f"Gestionnaire {slug}", region, f"https://{slug}.example/fhir", **declared)
    return Registered(manager, revision=1, updated_at="2026-01-01T00:00:00Z", skills=skills)


def _made(registered: Sequence[Registered] = (), *, writes: bool = False) -> dict[str, Any]:
    return federation_statement(
        registered,
        public_base=BASE,
        version="0.1.0",
        now="2026-11-22T18:00:00Z",
        federation_id="fed-1",
        writes=writes,
    )


def _resource(statement: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in statement["rest"][0]["resource"] if item["type"] == kind)
    return found


def _param(statement: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(p for p in _resource(statement, kind)["searchParam"] if p["name"] == name)
    return found


WHOLE = _registered("bre", "53", dialect="gestionnaire")
POOR = _registered(
    "nor",
    "28",
    Skills(
        history_type=False,
        interactions={"CareTeam": ("search-type",), "Organization": ("read",)},
        search_params={"CareTeam": ("identifier",), "Patient": ("family",)},
    ),
)
UNCHECKED = _registered("cor", "94")
SUSPENDED = _registered("gua", "01", status=Status.SUSPENDED)


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("registered", [(), (WHOLE,), (WHOLE, POOR, UNCHECKED, SUSPENDED)])
def test_it_is_a_valid_statement(registered: tuple[Registered, ...], *, writes: bool) -> None:
    CapabilityStatement.model_validate_json(orjson.dumps(_made(registered, writes=writes)))


def test_it_instantiates_the_guide() -> None:
    made = _made()
    assert (made["kind"], made["fhirVersion"], made["instantiates"]) == ("instance", "4.0.1", [GUIDE])
    assert made["format"] == ["json", "xml"]
    assert made["implementation"]["url"] == BASE
    assert [item["type"] for item in made["rest"][0]["resource"]] == list(TYPES)


def test_modifiers_that_the_broker_applies_are_said() -> None:
    somewhat = _registered("nor", "28", Skills(modifiers=("exact",)))
    whole = _made([WHOLE])["rest"][0]["documentation"]
    text = _made([WHOLE, somewhat])["rest"][0]["documentation"]
    assert "Modificateur" not in whole
    assert ":not appliqué par le courtier, dans une limite, pour : Normandie (Gestionnaire nor)" in text
    assert ":exact" not in text


def test_nothing_is_said_to_be_missing_where_nothing_is() -> None:
    for kind in TYPES:
        entry = _resource(_made([WHOLE]), kind)
        assert "documentation" not in entry
        assert [p["name"] for p in entry["searchParam"]] == list(PARAMETERS[kind])
        assert not any("documentation" in item for item in (*entry["searchParam"], *entry["interaction"]))


def test_interactions() -> None:
    codes = {kind: [i["code"] for i in _resource(_made(), kind)["interaction"]] for kind in TYPES}
    assert codes["Patient"] == ["read", "search-type"]
    assert codes["CareTeam"] == ["read", "search-type", "vread", "history-instance", "history-type"]
    assert "interaction" not in _made()["rest"][0]
    writing = _made(writes=True)
    assert [i["code"] for i in _resource(writing, "Patient")["interaction"]][2:] == ["create", "update"]
    assert writing["rest"][0]["interaction"] == [{"code": "transaction"}]


def test_a_parameter_says_where_it_is_bridged_and_where_it_was_never_checked() -> None:
    made = _made([WHOLE, POOR, UNCHECKED, SUSPENDED])
    start = _param(made, "CareTeam", "start")
    assert "Normandie (Gestionnaire nor)" in start["documentation"]
    assert "Non vérifié pour : Corse (Gestionnaire cor)" in start["documentation"]
    assert "Bretagne" not in start["documentation"]
    assert "Guadeloupe" not in orjson.dumps(made).decode()
    english = start["_documentation"]["extension"][0]["extension"][1]["valueString"]
    assert "Applied by the broker, within a bound, for: Normandie (Gestionnaire nor)." in english
    assert "chaîné" in _param(made, "Patient", "birthplace")["documentation"]
    assert "Normandie" not in _param(made, "CareTeam", "identifier")["documentation"]


def test_an_interaction_says_where_it_is_missing() -> None:
    codes = {i["code"]: i for i in _resource(_made([WHOLE, POOR]), "CareTeam")["interaction"]}
    assert "Normandie" in codes["history-type"]["documentation"]
    assert "documentation" not in codes["vread"]


def test_a_type_says_where_it_is_not_searched() -> None:
    made = _made([WHOLE, POOR])
    assert "Normandie" in _resource(made, "Organization")["documentation"]
    assert "documentation" not in _resource(made, "Patient")  # was seen to work, whatever is declared


def test_brokers_behind_it_are_named_once() -> None:
    behind = [
        _registered(slug, "53", Skills(broker=True, federations=(slug, "shared"))) for slug in ("b", "c")
    ]
    extension = _made(behind)["implementation"]["extension"]
    assert [item["valueString"] for item in extension] == ["fed-1", "b", "shared", "c"]


def test_includes_go_both_ways() -> None:
    made = _made()
    assert "CareTeam:subject" in _resource(made, "CareTeam")["searchInclude"]
    assert {"CareTeam:patient", "RelatedPerson:patient"} <= set(
        _resource(made, "Patient")["searchRevInclude"]
    )
    assert "searchInclude" not in _resource(made, "Patient")
