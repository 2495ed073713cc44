"""AuditEvents: FHIR R4, and the constraints of the IHE BALP 1.1 profiles that they name, one by one."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given
from hypothesis import strategies as st

from broker.core.access.principal import Purpose, User
from broker.core.audit.access import LEFT, Access, Interruption
from broker.core.audit.audited import Audited, Kind, audited_as
from broker.core.audit.event import BALP, MAX_QUERY, EventWriter
from tests.support.audit_sinks import kind

Json = dict[str, Any]
BASE = "https://broker.example/fhir"
AT = dt.datetime(2026, 11, 23, 12, 30, 15, 123456, tzinfo=dt.UTC)
USER = User("https://psc.example", "f:1", "899700000001", "Dr. MODÈLE")
SOURCE, DESTINATION = "110153", "110152"

READ, VREAD = kind("GET", "/fhir/{type}/{id}"), kind("GET", "/fhir/{type}/{id}/_history/{vid}")
CREATE, UPDATE = kind("POST", "/fhir/{type}"), kind("PUT", "/fhir/{type}/{id}")
DELETE = kind("DELETE", "/fhir/Subscription/{id}")
SEARCH, TRANSACTION = kind(), kind("POST", "/fhir")


def made(interaction: Audited, *persons: str, **given: Any) -> list[Json]:
    fields: dict[str, Any] = {
        "status": 200,
        "client": "dossier",
        "user": USER,
        "address": "192.0.2.1",
        "resources": () if interaction.queried else ("CareTeam/bre.c1",),
        "query": b"GET /fhir/CareTeam?status=active" if interaction.queried else b"",
    } | given
    access = Access(AT, interaction, "req-1", persons=persons, **fields)
    common, rests = EventWriter(BASE, "4f1c22ab-0").events(access)
    found = [common + rest for rest in rests]
    for event in found:
        AuditEvent.model_validate_json(event)
    return [json.loads(event) for event in found]


def sliced(items: list[Json], code: str) -> list[Json]:
    return [one for one in items if code in (one["type"].get("code"), *codings(one["type"]))]


def codings(concept: Json) -> list[str]:
    return [one["code"] for one in concept.get("coding", ())]


CASES = [
    (SEARCH, "Query", "E", "search-type", SOURCE, DESTINATION, "IRCP"),
    (READ, "Read", "R", "read", DESTINATION, SOURCE, "IRCP"),
    (VREAD, "Read", "R", "vread", DESTINATION, SOURCE, "IRCP"),
    (CREATE, "Create", "C", "create", SOURCE, DESTINATION, "AUT"),
    (UPDATE, "Update", "U", "update", SOURCE, DESTINATION, "AUT"),
    (DELETE, "Delete", "D", "delete", SOURCE, DESTINATION, "AUT"),
]


@pytest.mark.parametrize("person", [True, False], ids=["person", "nobody"])
@pytest.mark.parametrize(
    ("interaction", "profile", "action", "subtype", "client", "server", "user"),
    CASES,
    ids=[one[3] for one in CASES],
)
def test_a_success_keeps_what_its_profile_says(
    interaction: Audited,
    profile: str,
    action: str,
    subtype: str,
    client: str,
    server: str,
    user: str,
    person: bool,
) -> None:
    (event,) = made(interaction, *(["Patient/bre.p1"] if person else []))
    assert event["meta"]["profile"] == [f"{BALP}{'Patient' if person else ''}{profile}"]
    assert event["type"] == {
        "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
        "code": "rest",
    }
    assert event["subtype"] == [{"system": "http://hl7.org/fhir/restful-interaction", "code": subtype}]
    assert (event["action"], event["outcome"]) == (action, "0")
    assert event["recorded"] == "2026-11-23T12:30:15.123+00:00"
    (by,) = sliced(event["agent"], client)
    assert by["who"]["identifier"]["value"] == "dossier"
    assert by["network"] == {"address": "192.0.2.1", "type": "2"}
    (to,) = sliced(event["agent"], server)
    assert to["network"] == {"address": BASE, "type": "5"}
    assert to["who"]
    (human,) = sliced(event["agent"], user)
    assert human["requestor"] is True
    assert "network" not in human
    assert "media" not in human
    assert human["who"]["identifier"] == {"system": "https://rpps.esante.gouv.fr", "value": "99700000001"}
    assert (human["altId"], human["name"]) == (f"{USER.issuer}|{USER.subject}", USER.name)
    assert sum(one["requestor"] for one in event["agent"]) == 1
    (request,) = sliced(event["entity"], "XrequestId")
    assert request["what"]["identifier"]["value"] == "req-1"
    objects = sliced(event["entity"], "2")
    assert len(objects) == 1
    if profile == "Query":
        assert objects[0]["role"]["code"] == "24"
        assert set(objects[0]) == {"type", "role", "query"}
        assert base64.b64decode(objects[0]["query"]) == b"GET /fhir/CareTeam?status=active"
    else:
        assert objects[0]["role"]["code"] == "4"
        assert objects[0]["what"]["reference"] == f"{BASE}/CareTeam/bre.c1"
    patients = sliced(event["entity"], "1")
    assert [one["what"]["reference"] for one in patients] == ([f"{BASE}/Patient/bre.p1"] if person else [])
    assert all(one["role"]["code"] == "1" for one in patients)


def test_one_event_for_each_person_that_differ_in_nothing_else() -> None:
    found = made(SEARCH, "Patient/bre.2", "Patient/bre.1", "https://elsewhere.example/Patient/3")
    references = [sliced(one["entity"], "1")[0]["what"]["reference"] for one in found]
    assert references == [
        f"{BASE}/Patient/bre.1",
        f"{BASE}/Patient/bre.2",
        "https://elsewhere.example/Patient/3",
    ]
    for one in found:
        one["entity"] = [entity for entity in one["entity"] if entity["type"]["code"] != "1"]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (200, None, "0"), (304, None, "0"), (401, "access.missing", "4"), (403, "access.scope", "4"), (404, None, "4"),
        (LEFT, None, "4"), (500, "transaction.failed", "8"), (503, None, "8"), (500, "internal", "12"),
    ],
)  # fmt: skip
def test_how_it_ended(status: int, reason: str | None, outcome: str) -> None:
    (event,) = made(READ, status=status, reason=reason)
    assert event["outcome"] == outcome
    assert event.get("outcomeDesc") == reason
    assert ("meta" in event) is (outcome == "0")
    assert {"type": "status", "valueString": str(status)} in sliced(event["entity"], "XrequestId")[0][
        "detail"
    ]


def test_who_was_not_recognised_and_who_has_no_user() -> None:
    (event,) = made(SEARCH, client=None, user=None, address=None, status=401)
    by = sliced(event["agent"], SOURCE)[0]
    assert by["who"] == {"display": "unauthenticated"}
    assert by["requestor"] is True
    assert len(event["agent"]) == 2


def test_what_was_asked_of_whom_and_at_what_risk() -> None:
    (event,) = made(CREATE, managers=("occ", "bre"), risk_accepted=True)
    assert sliced(event["entity"], "XrequestId")[0]["detail"][1:] == [
        {"type": "manager", "valueString": "bre"},
        {"type": "manager", "valueString": "occ"},
        {"type": "uniqueness", "valueString": "risk-accepted"},
    ]


def test_a_transaction_names_all_that_it_wrote() -> None:
    (event,) = made(TRANSACTION, resources=("CareTeam/bre.c", "Patient/bre.p"))
    assert len(sliced(event["entity"], "2")) == 2
    assert "meta" not in event


def test_a_long_query_is_kept_in_part_and_says_so() -> None:
    (event,) = made(SEARCH, query=b"x" * (MAX_QUERY + 5))
    (kept,) = sliced(event["entity"], "2")
    assert len(base64.b64decode(kept["query"])) == MAX_QUERY
    detail = sliced(event["entity"], "XrequestId")[0]["detail"]
    assert {"type": "query-bytes", "valueString": str(MAX_QUERY + 5)} in detail


@given(st.text(max_size=30), st.text(max_size=30), st.binary(max_size=60))
def test_nothing_that_was_sent_breaks_an_event(client: str, name: str, query: bytes) -> None:
    user = dataclasses.replace(USER, name=name, identifier=client)
    (event,) = made(SEARCH, "Patient/bre.p1", client=client or None, user=user, query=query)
    assert "\n" not in json.dumps(event)


def test_lone_surrogates_and_line_feeds_stay_out() -> None:
    (event,) = made(SEARCH, "Patient/a\udcff", client="a\udcff\nb")
    assert sliced(event["agent"], SOURCE)[0]["who"]["identifier"]["value"] == "a? b"


def test_a_hole_in_the_trail_is_an_event_too() -> None:
    common, rests = EventWriter(BASE, "x").interruption(Interruption(AT, AT + dt.timedelta(seconds=5), 3, 1))
    event = AuditEvent.model_validate_json(common + rests[0])
    assert event.type.code == "110113"


@pytest.mark.parametrize(
    ("method", "route", "expected"),
    [
        ("GET", "/fhir/{type}", "search-type"), ("HEAD", "/fhir/{type}/{id}", "read"),
        ("GET", "/fhir/{type}/_history", "history-type"), ("GET", "/fhir/{type}/{id}/_history", "history-instance"),
        ("POST", "/fhir/", "transaction"), ("GET", "/fhir/CareTeam/$locate", "operation"),
        ("GET", "/fhir/Subscription/{id}/$events", "operation"), ("PATCH", "/fhir/{type}/{id}", "unknown"),
        ("GET", "/registry/fhir/{kind}/{id}", "read"), ("DELETE", "/registry/gestionnaires/{id}", "registry/gestionnaires"),
        ("POST", "/registry/gestionnaires/{id}/suspend", "registry/gestionnaires/suspend"),
        ("GET", "/registry/audit", "audit"),
    ],
)  # fmt: skip
def test_what_a_route_does(method: str, route: str, expected: str) -> None:
    found = audited_as(method, route)
    assert found is not None
    assert found.code == expected


@pytest.mark.parametrize(
    "route", ["/health/live", "/metrics", "/fhir/metadata", "/", "/fhirx", "/console/app.js"]
)
def test_what_is_not_traced(route: str) -> None:
    assert audited_as("GET", route) is None


def test_what_may_change_something_is_known() -> None:
    changing = [
        ("POST", "/fhir"),
        ("POST", "/fhir/{type}"),
        ("PUT", "/fhir/{type}/{id}"),
        ("DELETE", "/registry/x/{id}"),
    ]
    assert all(kind(*one).changes for one in changing)
    asking = [
        ("POST", "/fhir/{type}/_search"),
        ("POST", "/registry/plan"),
        ("POST", "/fhir/CareTeam/$locate"),
    ]
    assert not any(kind(*one).changes for one in asking)
    assert kind("GET", "/registry/audit").kind is Kind.AUDIT_USED


@pytest.mark.parametrize("identifier", [None, "0496000000001", "8997000000012", "8X9700000001", "carer-7"])
def test_who_has_no_national_number_is_named_as_the_issuer_does(identifier: str | None) -> None:
    (event,) = made(SEARCH, user=dataclasses.replace(USER, identifier=identifier))
    (human,) = sliced(event["agent"], "IRCP")
    assert human["who"]["identifier"] == {"system": USER.issuer, "value": USER.subject}
    assert human.get("altId") == identifier


def test_to_what_end_is_told_where_the_token_says_so() -> None:
    assert "purposeOfEvent" not in made(READ)[0]
    system = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
    (event,) = made(READ, purposes=(Purpose("TREAT", system), Purpose("42\n")))
    assert event["purposeOfEvent"] == [
        {"coding": [{"system": system, "code": "TREAT"}]},
        {"coding": [{"code": "42"}]},
    ]
