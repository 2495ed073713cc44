"""The trail as people read it; what a query holds is not repeated."""

from __future__ import annotations

import base64
import datetime as dt
import json

import pytest

from broker.audit.sink import AuditPage, AuditRecord
from broker.console.audit_view import lines, read
from broker.console.texts import TEXTS
from broker.core.access.principal import Purpose, User
from broker.core.audit.access import Access
from broker.core.audit.audited import audited_as
from broker.core.audit.event import EventWriter
from tests.support.fhir_builders import INS

BASE = "http://broker.example/fhir"
AT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def recorded() -> AuditRecord:
    what = audited_as("POST", "/console/search")
    assert what is not None
    access = Access(
        AT,
        what,
        "r1",
        200,
        "client-1",
        user=User("https://issuer", "sub-1", name="Alix MARTIN"),
        address="10.0.0.1",
        persons=("Patient/bre.p1",),
        managers=("bre",),
        query=f"POST /console/search\n\ncsrf=&ins-kind=nir&ins={INS[0]}&family=EXEMPLE&given=".encode(),
        purposes=(Purpose("TREAT", "urn:x"),),
    )
    before, parts = EventWriter(BASE, "n1").events(access)
    return AuditRecord("n1", 7, json.loads(before + b"".join(parts[:1])))


def test_a_line_tells_who_looked_at_what_when_and_why() -> None:
    (line,) = lines(AuditPage("n1", (recorded(),)), BASE)
    assert (line.client, line.user, line.address, line.code) == (
        "client-1",
        "Alix MARTIN",
        "10.0.0.1",
        "search-type",
    )
    assert (line.at[:19], line.outcome, line.status, line.request_id) == (
        "2026-01-02T03:04:05",
        "0",
        "200",
        "r1",
    )
    assert (line.persons, line.managers, line.purpose) == (("Patient/bre.p1",), ("bre",), "TREAT")


def test_of_a_query_the_names_are_told_and_no_value() -> None:
    (line,) = lines(AuditPage("n1", (recorded(),)), BASE)
    assert line.criteria == ("ins", "family")
    assert INS[0] not in repr(line)


def test_events_of_any_shape_are_shown_as_far_as_they_go() -> None:
    odd = {
        "agent": "x",
        "entity": [{"query": "%%", "detail": 3}, {"query": base64.b64encode(b"\xff").decode()}],
    }
    (line,) = lines(AuditPage("n1", (AuditRecord("n1", 1, odd),)), BASE)
    assert (line.client, line.criteria) == ("", ())


def test_a_form_is_a_query_of_the_trail() -> None:
    form = {"since": "2026-01-01T00:00", "client": " c1 ", "person": "Patient/bre.p1", "until": "", "x": "y"}
    query = read(form).query
    assert query is not None
    assert (query.since, query.until) == (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None)
    assert (query.client, query.person) == ("c1", "Patient/bre.p1")


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-02T00:00", "until": "2026-01-01T00:00"}, "until"),
        ({"person": INS[0]}, "person"),
        ({"person": "Patient/x?identifier=1"}, "person"),
        ({"client": "a b"}, "client"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(form: dict[str, str], field: str) -> None:
    given = read(form)
    assert given.query is None
    assert [one.field for one in given.faults] == [field]
    assert all(one.key in TEXTS for one in given.faults)
