"""What is called valid at a glance is valid for the form and for the models; what clients usually write is called so."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.element_forms import model_of
from broker.core.json_form import form_faults
from broker.core.plain_structure import is_plainly_valid
from broker.core.structure import WRITABLE, structure_faults
from tests.support.examples import examples

INS = {"system": "urn:oid:1.2.250.1.213.1.4.10", "value": "255069999999934", "use": "official"}
CODE = {
    "coding": [{"system": "http://loinc.org", "code": "LA27976-2", "display": "Équipe"}],
    "text": "équipe",
}
PERIOD = {"start": "2024-02-28", "end": "2026-12-31T23:59:59.5+02:00"}
EXTENSION = {"url": "https://a.example/x", "valueReference": {"reference": "Patient/1", "type": "Patient"}}
META = {"profile": ["https://a.example/p"], "tag": [{"system": "urn:x", "code": "a"}], "versionId": "1"}
NAME = [{"use": "official", "family": "EXEMPLE", "given": ["Dominique", "Claude"]}]
TELECOM = [{"system": "phone", "value": "0102030405", "rank": 1}]

USUAL: dict[str, dict[str, Any]] = {
    "CareTeam": {
        "meta": META | {"lastUpdated": "2026-01-01T00:00:00.000Z"},
        "identifier": [INS],
        "status": "active",
        "category": [CODE],
        "name": "Cercle de soins",
        "subject": {"reference": "Patient/bre.1", "identifier": INS},
        "period": PERIOD,
        "participant": [
            {"role": [CODE], "member": {"reference": "Organization/o"}, "period": {"start": "2026"}}
        ],
        "extension": [EXTENSION],
        "note": [{"text": "À voir", "time": "2026-01-01T00:00:00Z"}],
    },
    "Patient": {
        "identifier": [INS],
        "active": True,
        "name": NAME,
        "telecom": TELECOM,
        "gender": "female",
        "birthDate": "1951-09",
        "deceasedBoolean": False,
        "multipleBirthInteger": 2,
        "address": [{"line": ["1 rue de la Paix"], "city": "Rennes", "postalCode": "35000"}],
        "contact": [{"name": NAME[0]}],
        "communication": [{"language": CODE, "preferred": True}],
        "link": [{"other": {"reference": "Patient/2"}, "type": "seealso"}],
    },
    "Practitioner": {"identifier": [INS], "name": NAME, "qualification": [{"code": CODE}]},
    "PractitionerRole": {
        "active": True,
        "practitioner": {"reference": "Practitioner/1"},
        "code": [CODE],
        "availableTime": [{"daysOfWeek": ["mon", "tue"], "allDay": True}],
        "notAvailable": [{"description": "en août"}],
    },
    "RelatedPerson": {"patient": {"reference": "Patient/1"}, "relationship": [CODE], "telecom": TELECOM},
    "Organization": {"identifier": [INS], "name": "Maison", "partOf": {"reference": "Organization/2"}},
}
ODD: list[Any] = [
    None, "", " ", "\t", "a b", " a", "a ", "\u00a0a", "é", "#p", "Patient/1", "2026-02-30", "2026-04-31", "2026-13",
    "0000-01-01", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+14:30",
    "2100-02-29", "active", "urn:uuid:1", "x" * 300, 0, 1, -1, 2**31, 2**31 - 1, 1.5, True, False, [], {}, [None], ["a"],
    [{}], {"a": 1}, {"value": "1"}, [{"value": "1"}], {"extension": [EXTENSION]}, "http://a b", "https://[",
]  # fmt: skip
NAMES = ["resourceType", "id", "_id", "_name", "extension", "contained", "value", "valueString", "valueUri", "url", "x",
         "fhir_comments", "deceasedDateTime", "start", "reference", "language", "multipleBirthBoolean"]  # fmt: skip


def usual(type_name: str) -> dict[str, Any]:
    return {"resourceType": type_name, **copy.deepcopy(USUAL[type_name])}


def containers(value: Any) -> Iterator[dict[str, Any] | list[Any]]:
    if isinstance(value, dict | list):
        yield value
        for below in value.values() if isinstance(value, dict) else value:
            yield from containers(below)


@pytest.mark.parametrize("type_name", WRITABLE)
def test_what_clients_usually_write_is_seen_at_a_glance(type_name: str) -> None:
    assert is_plainly_valid(usual(type_name), type_name)


@pytest.mark.parametrize("type_name", WRITABLE)
def test_what_is_rare_is_left_to_the_models(type_name: str) -> None:
    for rare in (
        {"contained": [usual("Organization") | {"id": "o"}]},
        {"_language": {"extension": [EXTENSION]}},
    ):
        assert not is_plainly_valid(usual(type_name) | rare, type_name)
        assert structure_faults(usual(type_name) | rare, type_name) == []


@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from(WRITABLE), st.data())
def test_nothing_is_called_valid_that_the_form_or_the_models_refuse(
    type_name: str, data: st.DataObject
) -> None:
    resource = usual(type_name)
    for _ in range(data.draw(st.integers(1, 2))):
        places = list(containers(resource))
        place = places[data.draw(st.integers(0, len(places) - 1))]
        odd = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        known = data.draw(st.booleans())
        if isinstance(place, list):
            place[data.draw(st.integers(0, len(place))) :] = [odd]
        elif place and known:
            name = data.draw(st.sampled_from(sorted(place)))
            del place[name]
            if odd != "":
                place[name] = odd
        else:
            place[data.draw(st.sampled_from(NAMES))] = odd
    if resource.get("resourceType") == type_name and is_plainly_valid(resource, type_name):
        assert form_faults(resource, type_name, type_name) == []
        model: Any = model_of(type_name)
        model.model_validate(resource)
