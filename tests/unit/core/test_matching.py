"""Tokens, strings, references and uris against resources (FHIR R4, search.html, 3.1.1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.core.element_paths import values_at
from broker.core.matching import elements, matches, predicate, sort_value
from broker.core.query import Criterion, Link
from broker.core.search_parameters import PARAMETERS, lookup
from broker.core.value_tests import fold, split_token

INS = "urn:oid:1.2.250.1.213.1.4.10"
RPPS = "https://rpps.esante.gouv.fr"
ROLES = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
BIRTHPLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"

PATIENT: Mapping[str, Any] = {
    "resourceType": "Patient",
    "id": "p-1",
    "active": True,
    "extension": [
        {"url": "http://example.org/other", "valueAddress": {"city": "Lille"}},
        {"url": BIRTHPLACE, "valueAddress": {"city": "GOULVEN"}},
    ],
    "identifier": [
        {"system": INS, "value": "253072A07300443", "type": {"text": "Identité nationale"}},
        {"value": "local-7"},
        {"system": "http://example.org/empty"},
    ],
    "name": [
        {"family": "Lefèvre-Dupont", "given": ["Anne-Laure", "Zoé"], "prefix": ["Mme"]},
        {"text": "Mamie L'Haÿ"},
    ],
    "gender": "female",
    "address": [{"line": ["12 rue de la Paix", "Bât. B"], "city": "Saint-Étienne", "postalCode": "42000"}],
}
RELATED: Mapping[str, Any] = {
    "relationship": [
        {"coding": [{"system": ROLES, "code": "GUARD", "display": "Responsable légal"}]},
        {"text": "Voisine du dessus", "coding": [{"code": "NBOR"}]},
    ]
}


def met(resource: Mapping[str, Any], kind: str, name: str, *values: str, base: str = "") -> bool:
    """Whether `name[:modifier]=values` matches."""
    written, _, modifier = name.partition(":")
    parameter = lookup(kind, written)
    assert parameter is not None
    return matches(resource, Criterion(parameter, kind, (), modifier or None, values), base=base)


# --- paths


def test_paths_spread_out_what_repeats() -> None:
    assert values_at(PATIENT, "name.given") == ["Anne-Laure", "Zoé"]
    assert values_at(PATIENT, f"ext[{BIRTHPLACE}].valueAddress") == [{"city": "GOULVEN"}]
    assert values_at({"name": [None, {"given": ["A", None]}, "x"]}, "name.given") == ["A"]
    assert values_at({"_name": [{"extension": []}]}, "name") == []
    assert values_at({"name": "x"}, "name.given") == []


def test_every_path_of_the_table_can_be_followed() -> None:
    for table in PARAMETERS.values():
        for parameter in table.values():
            assert list(elements({}, parameter)) == []


# --- token


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{INS}|253072A07300443", True),
        (f"{INS}|253072a07300443", True),
        ("253072A07300443", True),
        (f"{INS}|", True),
        (f"{INS}|local-7", False),
        ("|local-7", True),
        ("|253072A07300443", False),
        ("http://example.org/empty|", True),
        ("http://example.org/none|", False),
        (f"{INS.upper()}|253072A07300443", False),
        ("253072A0730044", False),
        ("", False),
    ],
)
def test_identifiers(value: str, expected: bool) -> None:
    assert met(PATIENT, "Patient", "identifier", value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("GUARD", True), (f"{ROLES}|guard", True), (f"{ROLES}|NBOR", False), ("|NBOR", True), ("QUAL", False)],
)
def test_codeable_concepts(value: str, expected: bool) -> None:
    assert met(RELATED, "RelatedPerson", "relationship", value) is expected


def test_codes_and_booleans_have_their_implicit_system() -> None:
    assert met(PATIENT, "Patient", "gender", "Female")
    assert met(PATIENT, "Patient", "gender", "http://hl7.org/fhir/administrative-gender|female")
    assert not met(PATIENT, "Patient", "gender", "http://example.org|female")
    assert met(PATIENT, "Patient", "gender", "|female")
    assert met(PATIENT, "Patient", "active", "true")
    assert not met(PATIENT, "Patient", "active", "false")
    assert met({"status": "active"}, "CareTeam", "status", "http://hl7.org/fhir/care-team-status|active")


def test_ids_are_compared_with_case() -> None:
    assert met(PATIENT, "Patient", "_id", "x", "p-1")
    assert not met(PATIENT, "Patient", "_id", "P-1")


def test_not_reverses_the_match_and_takes_what_has_no_value() -> None:
    assert met(PATIENT, "Patient", "gender:not", "male")
    assert not met(PATIENT, "Patient", "gender:not", "female")
    assert not met(PATIENT, "Patient", "gender:not", "male", "female")
    assert met({}, "Patient", "gender:not", "male")
    assert not met(RELATED, "RelatedPerson", "relationship:not", "NBOR")  # one of two is enough to be out


def test_text_searches_what_goes_with_a_code() -> None:
    assert met(RELATED, "RelatedPerson", "relationship:text", "responsable legal")
    assert met(RELATED, "RelatedPerson", "relationship:text", "VOISINE")
    assert met(PATIENT, "Patient", "identifier:text", "identite")
    assert not met(RELATED, "RelatedPerson", "relationship:text", "GUARD")


def test_escapes_in_tokens() -> None:
    assert split_token(r"http://x|a\,b\$c\\d") == ("http://x", r"a,b$c\d")
    assert split_token(r"a\|b|c") == ("a|b", "c")
    assert met({"identifier": [{"system": "s", "value": r"1,2"}]}, "Patient", "identifier", r"s|1\,2")


# --- string


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("family", "lefevre", True),
        ("family", "LEFÈVRE-DUP", True),
        ("family", "lefevre dupont", True),
        ("family", "dupont", False),
        ("family:contains", "dupont", True),
        ("family:exact", "Lefèvre-Dupont", True),
        ("family:exact", "Lefevre-Dupont", False),
        ("family:exact", "Lefèvre", False),
        ("given", "anne", True),
        ("given", "zo", True),
        ("given", "laure", False),
        ("given:contains", "LAURE", True),
        ("name", "mme", True),
        ("name", "mamie lhay", True),
        ("name", "zoe", True),
        ("name:exact", "Zoé", True),
        ("name", "", False),
        ("name", "-", False),
        ("address", "saint etienne", True),
        ("address", "42", True),
        ("address", "12 rue de la", True),
        ("address", "bat b", True),
        ("address:contains", "paix", True),
        ("address", "france", False),
        ("birthplace", "goulv", True),
        ("birthplace", "lille", False),
    ],
)
def test_strings(name: str, value: str, expected: bool) -> None:
    assert met(PATIENT, "Patient", name, value) is expected


def test_folding_knows_french() -> None:
    assert fold("  Bœuf\u00a0—  L’HAŸ, Æ ß ") == "boeuf lhay ae ss"
    assert fold("e\u0301te\u0301") == fold("été") == "ete"
    assert fold("Œuvre") == "oeuvre"


def test_strings_are_unescaped() -> None:
    named = {"name": r"A, B \ C"}
    assert met(named, "Organization", "name:exact", r"A\, B \\ C")
    assert met({"name": "X", "alias": ["CC Rennes"]}, "Organization", "name", "cc ren")


# --- reference


def circle(*members: Any) -> dict[str, Any]:
    return {"participant": [{"member": member} for member in members]}


BASE = "https://cds.bretagne.example/fhir"


@pytest.mark.parametrize(
    ("held", "name", "value", "expected"),
    [
        ("Organization/12", "participant", "Organization/12", True),
        ("Organization/12", "participant", "12", True),
        ("Organization/12", "participant", "1", False),
        ("Organization/12", "participant:Organization", "12", True),
        ("Organization/12", "participant:RelatedPerson", "12", False),
        ("Organization/12", "participant", "RelatedPerson/12", False),
        ("Organization/12", "participant", f"{BASE}/Organization/12", True),
        (f"{BASE}/Organization/12", "participant", "Organization/12", True),
        (f"{BASE}/Organization/12", "participant", "12", True),
        ("https://other.example/fhir/Organization/12", "participant", "12", False),
        ("https://other.example/fhir/Organization/12", "participant", "Organization/12", False),
        (
            "https://other.example/fhir/Organization/12",
            "participant",
            "https://other.example/fhir/Organization/12",
            True,
        ),
        ("Organization/12/_history/3", "participant", "Organization/12", True),
        ("Organization/12/_history/3", "participant", "Organization/12/_history/3", True),
        ("Organization/12", "participant", "Organization/12/_history/3", False),
        ("urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", "participant", "12", False),
        ("#12", "participant", "12", False),
        ("Organization/12", "participant", "organization/12", False),
    ],
)
def test_references(held: str, name: str, value: str, expected: bool) -> None:
    assert met(circle({"display": "x"}, {"reference": held}), "CareTeam", name, value, base=BASE) is expected


def test_a_reference_by_identifier() -> None:
    held = circle({"identifier": {"system": RPPS, "value": "10001234567"}})
    assert met(held, "CareTeam", "participant:identifier", f"{RPPS}|10001234567")
    assert met(held, "CareTeam", "participant:identifier", "10001234567")
    assert not met(held, "CareTeam", "participant:identifier", f"{RPPS}|1")
    assert not met(held, "CareTeam", "participant", "10001234567")


def test_a_parameter_looks_only_at_references_it_may_point_to() -> None:
    group = {"subject": {"reference": "Group/1"}}
    assert not met(group, "CareTeam", "patient", "1")
    assert met(group, "CareTeam", "patient:missing", "true")
    assert met({"subject": {"reference": "https://x.example/Group/1"}}, "CareTeam", "patient:missing", "true")
    assert met(
        {"subject": {"reference": "urn:uuid:1", "type": "Group"}}, "CareTeam", "patient:missing", "true"
    )
    assert met({"subject": {"reference": "Patient/1"}}, "CareTeam", "patient:missing", "false")


# --- uri, missing, chains


def test_uris() -> None:
    tagged = {"meta": {"profile": ["http://x/cds-ihe-careteam|2.0.1"], "source": "http://y"}}
    assert met(tagged, "CareTeam", "_profile", "http://x/cds-ihe-careteam")
    assert met(tagged, "CareTeam", "_profile", "http://x/cds-ihe-careteam|2.0.1")
    assert not met(tagged, "CareTeam", "_profile", "http://x/cds-ihe-careteam|1.0")
    assert not met(tagged, "CareTeam", "_profile", "http://x/cds")
    assert met(tagged, "CareTeam", "_source", "http://y")


@pytest.mark.parametrize("name", ["family", "gender", "birthdate", "identifier", "birthplace", "_profile"])
def test_missing(name: str) -> None:
    assert met({}, "Patient", f"{name}:missing", "true")
    assert not met({}, "Patient", f"{name}:missing", "false")
    assert met({"_gender": {"extension": []}}, "Patient", f"{name}:missing", "true")


def test_present_is_not_missing() -> None:
    for name in ("family", "gender", "identifier", "birthplace"):
        assert met(PATIENT, "Patient", f"{name}:missing", "false")
        assert not met(PATIENT, "Patient", f"{name}:missing", "true")


def test_a_chain_is_not_about_one_resource() -> None:
    patient, family = lookup("CareTeam", "patient"), lookup("Patient", "family")
    assert patient is not None
    assert family is not None
    chained = Criterion(family, "Patient", (Link(patient, "Patient", stated=False),), None, ("x",))
    with pytest.raises(ValueError, match="chained"):
        predicate(chained)


@pytest.mark.parametrize("wrong", ["x", 3, [], {}, [None], [{"coding": "x"}], [[1]], True])
def test_content_of_a_wrong_shape_matches_nothing(wrong: Any) -> None:
    """Managers relay invalid content; it must not make a search fail."""
    for kind, table in PARAMETERS.items():
        for parameter in table.values():
            first = parameter.paths[0].split(".")[0].split("[")[0]
            resource = {{"ext": "extension"}.get(first, first): wrong}
            criterion = Criterion(parameter, kind, (), None, ("eq2020",))
            assert matches(resource, criterion) is False
            sort_value(resource, parameter, False)


# --- sorting


def sorted_by(resource: Mapping[str, Any], kind: str, name: str, *, descending: bool = False) -> Any:
    parameter = lookup(kind, name)
    assert parameter is not None
    return sort_value(resource, parameter, descending)


def test_sort_values() -> None:
    assert sorted_by(PATIENT, "Patient", "name") == "lefevre dupont anne laure zoe"
    assert sorted_by(PATIENT, "Patient", "given") == "anne laure"
    assert sorted_by(PATIENT, "Patient", "given", descending=True) == "zoe"
    assert sorted_by(PATIENT, "Patient", "gender") == "female"
    assert sorted_by(PATIENT, "Patient", "identifier", descending=True) == "local-7"
    assert sorted_by({"subject": {"reference": "Patient/1"}}, "CareTeam", "patient") == "Patient/1"
    assert sorted_by({}, "Patient", "name") is None
    assert sorted_by({"meta": {"profile": ["b", "a"]}}, "Patient", "_profile") == "a"
