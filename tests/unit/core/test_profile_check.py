"""What clients write, judged: every fault with its own key and its place, and nothing that R4 allows refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.json_form import MAX_FAULTS
from broker.core.media_type import Format
from broker.core.messages import MESSAGES
from broker.core.profile_check import check_resource
from broker.core.profile_rules import RULES
from broker.core.structure import WRITABLE, preload
from broker.core.write_body import read_resource_body, refusal, warnings_of
from broker.errors import RequestError
from tests.support.examples import examples

Json = dict[str, Any]
Change = Callable[[Json], object]

R260 = "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass/FHIR/TRE-R260-HL7RoleClass"
R216 = "https://mos.esante.gouv.fr/NOS/TRE_R216-HL7RoleCode/FHIR/TRE-R216-HL7RoleCode"
FR_TYPES = "https://hl7.fr/ig/fhir/core/CodeSystem/fr-core-cs-v2-0203"
R345 = "https://mos.esante.gouv.fr/NOS/TRE_R345-TypeIdentifiantAutre/FHIR/TRE-R345-TypeIdentifiantAutre"
INS_TEST = "urn:oid:1.2.250.1.213.1.4.10"
SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
SECRET = "Zébulon"
"""Stands for what a body says of a person: no issue may repeat it."""

VALID: dict[str, Json] = {
    "CareTeam": {
        "resourceType": "CareTeam",
        "meta": {"profile": ["https://example.org/p"]},
        "identifier": [{"system": "https://example.org/circles", "value": SECRET}],
        "status": "active",
        "name": SECRET,
        "subject": {"reference": "Patient/bre.1"},
        "period": {"start": "2024-01-10"},
        "participant": [
            {"member": {"reference": "PractitionerRole/bre.2"}, "period": {"start": "2024-01-10"}},
            {"member": {"reference": "https://b.example/fhir/RelatedPerson/bre.3/_history/2"}},
            {"member": {"reference": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"}},
            {"member": {"reference": "Organization?identifier=https://example.org|1"}},
        ],
        "managingOrganization": [{"reference": "Organization/bre.4"}],
    },
    "RelatedPerson": {
        "resourceType": "RelatedPerson",
        "identifier": [{"system": "https://example.org/contacts", "value": "1"}],
        "patient": {"reference": "Patient/bre.1"},
        "relationship": [{"coding": [{"system": R260, "code": "ECON"}]}],
        "name": [{"family": SECRET, "given": [SECRET]}],
        "telecom": [{"system": "phone", "value": SECRET}],
    },
    "Organization": {"resourceType": "Organization", "name": "Maison de santé"},
    "Patient": {
        "resourceType": "Patient",
        "identifier": [{"system": INS_TEST, "value": "295109912611193"}],
        "name": [{"use": "official", "family": SECRET, "given": [SECRET]}],
        "birthDate": "1995-10",
    },
    "Practitioner": {"resourceType": "Practitioner", "name": [{"family": SECRET}]},
    "PractitionerRole": {"resourceType": "PractitionerRole", "practitioner": {"reference": "Practitioner/1"}},
}


def valid(type_name: str) -> Json:
    return copy.deepcopy(VALID[type_name])


def told(resource: Json, path: str | None = None) -> list[tuple[str, str]]:
    issues = check_resource(resource, path=path)
    assert all(issue.key in MESSAGES for issue in issues)
    assert SECRET not in repr(issues), "an issue repeats what was written"
    return [(issue.key.removeprefix("write."), *issue.expression) for issue in issues]


def put(**members: Any) -> Change:
    return lambda resource: resource.update(members)


def drop(*path: str | int) -> Change:
    def change(resource: Any) -> None:
        for step in path[:-1]:
            resource = resource[step]
        del resource[path[-1]]

    return change


def at(*path: str | int, **members: Any) -> Change:
    def change(resource: Any) -> None:
        for step in path:
            resource = resource[step]
        resource.update(members)

    return change


@pytest.mark.parametrize("type_name", WRITABLE)
def test_a_good_one_has_no_issue(type_name: str) -> None:
    assert told(valid(type_name)) == []


IDNST = {
    "type": {"coding": [{"system": FR_TYPES, "code": "IDNST"}]},
    "system": "urn:oid:1.2.250.1.71.4.2.2",
    "value": "1",
}
OI = {"type": {"coding": [{"system": R345, "code": "42"}]}, "value": "1"}
ROLE = {"coding": [{"system": R260, "code": "GUARD"}]}
RELATION = {"coding": [{"system": R216, "code": "NBOR"}]}

BROKEN_RULES: list[tuple[str, Change, list[tuple[str, str]]]] = [
    ("CareTeam", drop("meta"), [("rule.careteam-meta", "CareTeam.meta")]),
    ("CareTeam", drop("identifier"), [("rule.careteam-identifier", "CareTeam.identifier")]),
    (
        "CareTeam",
        put(identifier=[{"value": "1"}, {"value": "2"}]),
        [("rule.careteam-identifier", "CareTeam.identifier")],
    ),
    (
        "CareTeam",
        drop("identifier", 0, "value"),
        [("rule.identifier-value", "CareTeam.identifier[0].value")],
    ),
    ("CareTeam", drop("status"), [("rule.careteam-status", "CareTeam.status")]),
    ("CareTeam", drop("name"), [("rule.careteam-name", "CareTeam.name")]),
    ("CareTeam", drop("subject"), [("rule.careteam-subject", "CareTeam.subject")]),
    (
        "CareTeam",
        put(subject={"reference": "Group/1"}),
        [("rule.careteam-subject-type", "CareTeam.subject")],
    ),
    (
        "CareTeam",
        put(subject={"type": "Group", "identifier": {"value": "1"}}),
        [("rule.careteam-subject-type", "CareTeam.subject")],
    ),
    (
        "CareTeam",
        put(subject={"reference": "Patient/1", "type": "Group"}),
        [("rule.careteam-subject-type", "CareTeam.subject")],
    ),
    ("CareTeam", drop("period"), [("rule.careteam-period", "CareTeam.period")]),
    ("CareTeam", put(period={"end": "2025"}), [("rule.careteam-start", "CareTeam.period.start")]),
    (
        "CareTeam",
        drop("participant", 1, "member"),
        [("structure.empty", "CareTeam.participant[1]")],
    ),
    (
        "CareTeam",
        drop("participant", 0, "member"),
        [("rule.careteam-member", "CareTeam.participant[0].member")],
    ),
    (
        "CareTeam",
        at("participant", 0, "member", reference="Practitioner/1"),
        [("rule.careteam-member-type", "CareTeam.participant[0].member")],
    ),
    (
        "CareTeam",
        at("participant", 1, "member", reference="https://b.example/fhir/Patient/9"),
        [("rule.careteam-member-type", "CareTeam.participant[1].member")],
    ),
    (
        "CareTeam",
        at("participant", 1, "member", reference="Nobody/9"),
        [("rule.careteam-member-type", "CareTeam.participant[1].member")],
    ),
    (
        "CareTeam",
        at("participant", 3, "member", reference="Practitioner?identifier=1"),
        [("rule.careteam-member-type", "CareTeam.participant[3].member")],
    ),
    (
        "CareTeam",
        put(
            contained=[{"resourceType": "Practitioner", "id": "p"}],
            participant=[{"member": {"reference": "#p"}}],
        ),
        [("rule.careteam-member-type", "CareTeam.participant[0].member")],
    ),
    (
        "CareTeam",
        at("participant", 0, period={"end": "2025"}),
        [("rule.careteam-participant-start", "CareTeam.participant[0].period.start")],
    ),
    (
        "CareTeam",
        put(managingOrganization=[{"reference": "Organization/1"}, {"reference": "Location/1"}]),
        [("rule.reference-type", "CareTeam.managingOrganization[1]")],
    ),
    ("CareTeam", at("meta", tag=[{"code": "x"}, SUBSETTED]), [("rule.subsetted", "CareTeam.meta.tag[1]")]),
    ("Organization", put(meta={"tag": [SUBSETTED]}), [("rule.subsetted", "Organization.meta.tag[0]")]),
    ("RelatedPerson", drop("identifier"), [("rule.relatedperson-identifier", "RelatedPerson.identifier")]),
    ("RelatedPerson", drop("relationship"), [("rule.relatedperson-role", "RelatedPerson.relationship")]),
    (
        "RelatedPerson",
        put(relationship=[RELATION]),
        [("rule.relatedperson-role", "RelatedPerson.relationship")],
    ),
    (
        "RelatedPerson",
        put(relationship=[ROLE, RELATION, ROLE]),
        [("rule.relatedperson-role", "RelatedPerson.relationship[2]")],
    ),
    (
        "RelatedPerson",
        put(relationship=[ROLE, RELATION, RELATION]),
        [("rule.relatedperson-relation", "RelatedPerson.relationship[2]")],
    ),
    ("RelatedPerson", drop("name"), [("rule.relatedperson-name", "RelatedPerson.name")]),
    (
        "RelatedPerson",
        put(name=[{"family": "A"}, {"family": "B"}]),
        [("rule.relatedperson-name", "RelatedPerson.name")],
    ),
    (
        "RelatedPerson",
        drop("name", 0, "family"),
        [("rule.relatedperson-family", "RelatedPerson.name[0].family")],
    ),
    (
        "RelatedPerson",
        at("name", 0, given=["A", "B", "C"], prefix=["M", "DR"]),
        [
            ("rule.relatedperson-given", "RelatedPerson.name[0].given[1]"),
            ("rule.relatedperson-given", "RelatedPerson.name[0].given[2]"),
            ("rule.relatedperson-prefix", "RelatedPerson.name[0].prefix[1]"),
        ],
    ),
    ("RelatedPerson", drop("telecom"), [("rule.relatedperson-telecom", "RelatedPerson.telecom")]),
    (
        "RelatedPerson",
        put(telecom=[{"system": "phone"}]),
        [("rule.telecom-value", "RelatedPerson.telecom[0].value")],
    ),
    (
        "RelatedPerson",
        put(patient={"reference": "Person/1"}),
        [("rule.reference-type", "RelatedPerson.patient")],
    ),
    (
        "Organization",
        put(telecom=[{"use": "work"}]),
        [
            ("rule.telecom-system", "Organization.telecom[0].system"),
            ("rule.telecom-value", "Organization.telecom[0].value"),
        ],
    ),
    (
        "Organization",
        put(identifier=[IDNST, {"value": "1"}, IDNST]),
        [("rule.organization-idnst", "Organization.identifier[2]")],
    ),
    ("Organization", put(identifier=[OI, OI]), [("rule.organization-oi", "Organization.identifier[1]")]),
    (
        "Organization",
        put(partOf={"reference": "Location/1"}),
        [("rule.reference-type", "Organization.partOf")],
    ),
    (
        "PractitionerRole",
        put(practitioner={"reference": "Organization/1"}),
        [("rule.reference-type", "PractitionerRole.practitioner")],
    ),
    (
        "Patient",
        put(link=[{"type": "refer", "other": {"reference": "Organization/1"}}]),
        [("rule.reference-type", "Patient.link[0].other")],
    ),
    ("Patient", at("identifier", 0, value="295109912611194"), [("ins-key", "Patient.identifier[0].value")]),
    ("Patient", at("identifier", 0, value="2951099126111"), [("ins-key", "Patient.identifier[0].value")]),
    ("Patient", drop("name", 0, "given"), [("official-name", "Patient.name[0].given")]),
    (
        "CareTeam",
        put(subject={"identifier": {"system": INS_TEST, "value": "1"}}),
        [("ins-key", "CareTeam.subject.identifier.value")],
    ),
]


@pytest.mark.parametrize(("type_name", "change", "expected"), BROKEN_RULES)
def test_each_rule_is_told_at_its_place(
    type_name: str, change: Change, expected: list[tuple[str, str]]
) -> None:
    resource = valid(type_name)
    change(resource)
    assert told(resource) == expected


def test_every_rule_has_a_case() -> None:
    covered = {key for _, _, expected in BROKEN_RULES for key, _ in expected}
    keys = {rule.key.removeprefix("write.") for rules in RULES.values() for rule in rules}
    assert keys <= covered


def extension(**value: Any) -> Json:
    return {"extension": [{"url": "https://example.org/e", **value}]}


BAD_STRUCTURE: list[tuple[str, Change, list[tuple[str, str]]]] = [
    ("CareTeam", put(colour="red"), [("structure.unknown-element", "CareTeam.colour")]),
    ("CareTeam", put(**{SECRET: "x"}), [("structure.unknown-element", "CareTeam")]),
    ("CareTeam", put(name__ext={"id": "1"}), [("structure.unknown-element", "CareTeam")]),
    ("CareTeam", put(resource_type="CareTeam"), [("structure.unknown-element", "CareTeam")]),
    ("CareTeam", put(status="Active"), [("structure.code", "CareTeam.status")]),
    ("CareTeam", put(status=4), [("structure.kind", "CareTeam.status")]),
    ("CareTeam", put(name=""), [("structure.empty", "CareTeam.name")]),
    (
        "CareTeam",
        put(name=None),
        [("structure.null", "CareTeam.name")],
    ),
    ("CareTeam", put(category=[]), [("structure.empty", "CareTeam.category")]),
    ("CareTeam", put(category=[None]), [("structure.null", "CareTeam.category[0]")]),
    ("CareTeam", put(category={"text": "x"}), [("structure.kind", "CareTeam.category")]),
    ("CareTeam", put(subject='{"reference":"Patient/1"}'), [("structure.kind", "CareTeam.subject")]),
    ("CareTeam", put(subject=["Patient/1"]), [("structure.kind", "CareTeam.subject")]),
    ("CareTeam", put(period={}), [("structure.empty", "CareTeam.period")]),
    ("CareTeam", put(period={"start": "10/01/2024"}), [("structure.format", "CareTeam.period.start")]),
    ("CareTeam", put(period={"start": 1700000000}), [("structure.kind", "CareTeam.period.start")]),
    ("CareTeam", put(period={"start": "2024-02-30"}), [("structure.format", "CareTeam.period.start")]),
    (
        "CareTeam",
        put(period={"start": "2024-03", "end": "2024-02"}),
        [("structure.invariant", "CareTeam.period")],
    ),
    ("CareTeam", put(subject={"reference": "#x"}), [("structure.dangling", "CareTeam.subject.reference")]),
    ("CareTeam", put(contained=[{"id": "x"}]), [("structure.unknown-type", "CareTeam.contained[0]")]),
    (
        "CareTeam",
        put(contained=[{"resourceType": "Nobody"}]),
        [("structure.unknown-type", "CareTeam.contained[0]")],
    ),
    (
        "CareTeam",
        put(contained=[{"resourceType": "Patient", "gender": "f"}]),
        [("structure.code", "CareTeam.contained[0].gender")],
    ),
    (
        "CareTeam",
        put(contained=[{"resourceType": "Patient", "birthDate": "x"}]),
        [("structure.format", "CareTeam.contained[0].birthDate")],
    ),
    ("CareTeam", put(id="a_b"), [("structure.format", "CareTeam.id")]),
    ("CareTeam", put(id="a" * 65), [("structure.format", "CareTeam.id")]),
    ("CareTeam", put(meta={"profile": ["a b"]}), [("structure.format", "CareTeam.meta.profile[0]")]),
    ("CareTeam", put(text={"div": "<div/>"}), [("structure.missing", "CareTeam.text.status")]),
    ("CareTeam", put(**extension()), [("structure.invariant", "CareTeam.extension[0]")]),
    (
        "CareTeam",
        put(**extension(valueUrl=["x"])),
        [("structure.kind", "CareTeam.extension[0].value")],
    ),
    (
        "CareTeam",
        put(**extension(valueString="x", valueCode="y")),
        [("structure.choice", "CareTeam.extension[0]")],
    ),
    (
        "CareTeam",
        put(**extension(valueRatioRange={"id": "x"})),
        [("structure.unknown-element", "CareTeam.extension[0].valueRatioRange")],
    ),
    ("CareTeam", put(**extension(valueInteger=True)), [("structure.kind", "CareTeam.extension[0].value")]),
    ("CareTeam", put(**extension(valueInteger="3")), [("structure.kind", "CareTeam.extension[0].value")]),
    ("CareTeam", put(**extension(valueInteger=3.5)), [("structure.format", "CareTeam.extension[0].value")]),
    (
        "CareTeam",
        put(_name={"extension": [{"url": "https://example.org/e", "valueString": ""}]}),
        [("structure.empty", "CareTeam.name.extension[0].value")],
    ),
    ("Patient", put(active="true"), [("structure.kind", "Patient.active")]),
    ("Patient", put(birthDate="2020-01-01T00:00:00Z"), [("structure.format", "Patient.birthDate")]),
    (
        "Patient",
        put(deceasedBoolean=True, deceasedDateTime="2020"),
        [("structure.choice", "Patient")],
    ),
    ("Patient", put(contact=[{"gender": "male"}]), [("structure.invariant", "Patient.contact[0]")]),
    ("Patient", at("name", 0, given=["A", None]), [("structure.null", "Patient.name[0].given[1]")]),
    (
        "Patient",
        put(telecom=[{"value": SECRET}]),
        [("structure.invariant", "Patient.telecom[0]")],
    ),
    ("RelatedPerson", drop("patient"), [("structure.missing", "RelatedPerson.patient")]),
    ("Organization", drop("name"), [("structure.invariant", "Organization")]),
    (
        "Organization",
        put(telecom=[{"system": "phone", "value": "1", "use": "home"}]),
        [("structure.invariant", "Organization")],
    ),
]


@pytest.mark.parametrize(("type_name", "change", "expected"), BAD_STRUCTURE)
def test_what_is_no_fhir_is_told_at_its_place(
    type_name: str, change: Change, expected: list[tuple[str, str]]
) -> None:
    resource = valid(type_name)
    change(resource)
    assert told(resource) == expected


ALLOWED: list[tuple[str, Change]] = [
    ("CareTeam", put(id="a" * 64)),
    ("CareTeam", put(period={"start": "2024-01-10T10:11:12.123456789012+02:00"})),
    ("CareTeam", put(period={"start": "2024", "end": "2024"})),
    ("CareTeam", put(period={"start": "2016-12-31T23:59:60Z"})),
    ("CareTeam", put(period={"start": "2024-01-10T10:00:00+14:00"})),
    (
        "CareTeam",
        put(
            contained=[{"resourceType": "Organization", "id": "o", "name": "x"}],
            managingOrganization=[{"reference": "#o"}],
        ),
    ),
    ("CareTeam", put(managingOrganization=[{"reference": "https://example.org/Documents/12"}])),
    ("CareTeam", put(contained=[{"resourceType": "Condition", "subject": {"reference": "#"}}])),
    ("CareTeam", put(_status={"extension": [{"url": "https://example.org/e", "valueBoolean": True}]})),
    ("CareTeam", put(**extension(_valueString=extension(valueCode="unknown")))),
    ("CareTeam", put(**extension(valueUuid="urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"))),
    ("CareTeam", put(**extension(valueUrl="mllp:é"))),
    ("CareTeam", put(**extension(valueUri="urn:x"))),
    ("CareTeam", put(**extension(valueOid="urn:oid:1.2.250"))),
    ("CareTeam", put(**extension(valueDecimal=-0.000001))),
    ("CareTeam", put(**extension(valueBase64Binary="QUJD\nREVG"))),
    ("CareTeam", put(**extension(valueTime="23:59:60"))),
    ("CareTeam", put(**extension(valueMarkdown=" x\r\n"))),
    ("CareTeam", put(**extension(valueInstant="2024-01-10T10:00:00.1Z"))),
    (
        "CareTeam",
        put(**extension(valueDosage={"text": "x", "doseAndRate": [{"doseQuantity": {"value": 1}}]})),
    ),
    ("CareTeam", put(**extension(extension=[{"url": "a", "valuePositiveInt": 1}]))),
    ("CareTeam", put(note=[{"text": "x", "authorString": "y", "time": "2024"}])),
    ("CareTeam", put(modifierExtension=[{"url": "https://example.org/m", "valueBoolean": False}])),
    ("CareTeam", put(implicitRules="https://example.org/r", language="fr-FR")),
    (
        "CareTeam",
        put(text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}),
    ),
    ("Patient", put(_birthDate=extension(valueDateTime="1995-10-01T04:00:00+02:00"))),
    ("Patient", at("name", 0, given=["A", None], _given=[None, {"id": "g"}])),
    ("Patient", at("name", 0, _family={"extension": [{"url": "https://example.org/e", "valueString": "x"}]})),
    ("Patient", put(multipleBirthInteger=2, photo=[{"contentType": "image/png", "data": "QUJD", "size": 3}])),
    ("Patient", put(communication=[{"language": {"text": "fr"}, "preferred": True}])),
    ("Patient", put(contact=[{"name": {"text": "x"}, "gender": "other", "period": {"start": "2020"}}])),
    ("Patient", put(maritalStatus={"coding": [{"code": "M", "userSelected": False}]})),
    (
        "PractitionerRole",
        put(
            availableTime=[{"daysOfWeek": ["mon", "sun"], "allDay": False, "availableStartTime": "08:30:00"}],
            notAvailable=[{"description": "x", "during": {"start": "2024"}}],
        ),
    ),
    ("Practitioner", put(qualification=[{"code": {"text": "x"}, "issuer": {"display": "y"}}])),
    ("Organization", put(contact=[{"purpose": {"text": "x"}, "name": {"text": "y"}}], alias=["z"])),
    ("RelatedPerson", put(relationship=[RELATION, ROLE, {"text": "x"}])),
    ("RelatedPerson", put(birthDate="1950", communication=[{"language": {"text": "fr"}}])),
]


@pytest.mark.parametrize(("type_name", "change"), ALLOWED)
def test_nothing_that_r4_allows_is_refused(type_name: str, change: Change) -> None:
    resource = valid(type_name)
    change(resource)
    assert told(resource) == []


def test_all_is_told_at_once_and_400_comes_before_422() -> None:
    resource = valid("CareTeam")
    for change in (
        drop("name"),
        put(colour="red", status="x"),
        at("participant", 0, "member", reference="Patient/1"),
    ):
        change(resource)
    resource["subject"] = {"identifier": {"system": INS_TEST, "value": "1"}}
    issues = check_resource(resource, path="Bundle.entry[2].resource")
    assert {(issue.key, *issue.expression) for issue in issues} == {
        ("write.structure.unknown-element", "Bundle.entry[2].resource.colour"),
        ("write.structure.code", "Bundle.entry[2].resource.status"),
        ("write.rule.careteam-name", "Bundle.entry[2].resource.name"),
        ("write.rule.careteam-member-type", "Bundle.entry[2].resource.participant[0].member"),
        ("write.ins-key", "Bundle.entry[2].resource.subject.identifier.value"),
    }
    refused = refusal(issues)
    assert refused is not None
    assert (refused.key, MESSAGES[refused.key].status) == ("write.structure", 400)
    assert len(refused.issues) == 5
    assert refused.issues[-1].key == "write.ins-key"


def test_a_broken_rule_alone_is_422_and_a_warning_alone_refuses_nothing() -> None:
    circle = valid("CareTeam")
    del circle["name"]
    refused = refusal(check_resource(circle))
    assert refused is not None
    assert (refused.key, MESSAGES[refused.key].status) == ("write.rule", 422)

    patient = valid("Patient")
    patient["identifier"][0]["value"] = "123456789012244"
    issues = check_resource(patient)
    assert refusal(issues) is None
    assert warnings_of(issues) == (
        '299 - "The form or the key of this INS is wrong: Patient.identifier[0].value."',
    )
    assert warnings_of(check_resource(circle)) == ()


def test_another_type_is_judged_by_r4_alone() -> None:
    assert told({"resourceType": "Group", "type": "person", "actual": True}) == []
    assert told({"resourceType": "Resource"}) == [("structure.unknown-type", "Resource")]
    assert told({"resourceType": SECRET}) == [("structure.unknown-type", "Resource")]
    assert told({}, "Bundle.entry[0].resource") == [("structure.unknown-type", "Bundle.entry[0].resource")]


def test_a_body_that_is_wrong_everywhere_makes_a_bounded_answer() -> None:
    resource = valid("CareTeam") | {"participant": [{"member": {"reference": "Patient/1"}}] * 500}
    assert len(check_resource(resource)) == MAX_FAULTS


def test_deep_nesting_is_told_not_followed() -> None:
    nested: Json = {"url": "https://example.org/e", "valueCode": "x"}
    for _ in range(2000):
        nested = {"url": "https://example.org/e", "extension": [nested]}
    ((key, _),) = told(valid("CareTeam") | {"extension": [nested]})
    assert key == "structure.too-deep"


def test_preloading_makes_the_first_body_like_any_other() -> None:
    preload()
    for type_name in WRITABLE:
        assert told(valid(type_name)) == []


# --- whatever a client sends

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NAMES = st.one_of(
    st.sampled_from(
        ["resourceType", "id", "_id", "meta", "tag", "text", "div", "status", "contained", "extension"]
    ),
    st.sampled_from(
        ["reference", "type", "url", "valueUrl", "valueString", "_valueString", "valueUuid", "value"]
    ),
    st.sampled_from(
        ["name", "_name", "given", "subject", "identifier", "participant", "member", "period", "start"]
    ),
    st.sampled_from(["telecom", "code", "coding", "system", "relationship"]),
    st.text(max_size=6),
)
TYPES = st.sampled_from([*WRITABLE, "Bundle", "Nobody", "Extension", "", 3, None])
ARBITRARY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=25,
)


def _dumps(tree: Any) -> bool:
    try:
        orjson.dumps(tree)
    except orjson.JSONEncodeError:
        return False
    return True


def _known_member(type_name: str) -> st.SearchStrategy[Json]:
    members = sorted(VALID[type_name])
    return st.dictionaries(st.sampled_from(members) | NAMES, ARBITRARY, max_size=5).map(
        lambda changes: VALID[type_name] | changes | {"resourceType": type_name}
    )


@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(WRITABLE).flatmap(_known_member) | st.dictionaries(NAMES, ARBITRARY, max_size=4))
def test_no_tree_breaks_the_check(resource: Json) -> None:
    issues = check_resource(resource)
    refusal(issues)
    assert all(issue.expression and issue.key in MESSAGES for issue in issues)


BODIES = (ARBITRARY | st.sampled_from(WRITABLE).flatmap(_known_member)).filter(_dumps).map(
    orjson.dumps
) | st.binary(max_size=40)


@settings(max_examples=examples(100), deadline=None)
@given(BODIES, st.sampled_from(Format), st.sampled_from([*WRITABLE, "", None]))
def test_no_body_raises_anything_but_a_request_error(body: bytes, form: Format, expected: str | None) -> None:
    key = _key_of_refusal(body, form, expected)
    assert key is None or MESSAGES[key].status == 400


def _key_of_refusal(body: bytes, form: Format, expected: str | None) -> str | None:
    try:
        _, resource = read_resource_body(body, form, expected)
    except RequestError as error:
        return error.key
    check_resource(resource)
    return None
